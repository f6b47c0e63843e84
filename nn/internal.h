/* internal.h - what store.c, store_file.c and low.c share: matrices that are kept in low precision. */
#ifndef NN_INTERNAL_H
#define NN_INTERNAL_H
#include "nn/nn.h"

long low_bytes(const nn_entry *p);                         /* 0: an ordinary parameter */
void low_place(nn_store *s, nn_entry *p, char *at);        /* its tensor gets its numbers there */
void low_save(const nn_entry *p, h5_out *f, const char *name);
bool low_read(const nn_entry *p, h5 *f, const char *name, error *e);
/* Could `name` be read into this parameter, low or not? */
bool low_expect(const nn_entry *p, h5 *f, const char *name, error *e);
/* Is `name` the scales of a parameter that the file keeps as int8? */
bool low_is_scale(const nn_store *s, h5 *f, const char *name);
#endif
