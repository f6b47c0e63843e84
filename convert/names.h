/* names.h - one parameter, several names: ours are LAVIS's. */
#ifndef CONVERT_NAMES_H
#define CONVERT_NAMES_H
#include <stdbool.h>

enum { CONVERT_NAME = 256 };
typedef struct convert_part { char name[CONVERT_NAME]; int of, at; } convert_part; /* part `at` of `of` equal
                                                          parts along the first axis; of 1: all of it */
/* The Hugging Face name of one of our parameters; false: it has none there. */
bool convert_hf_name(const char *ours, convert_part *to);
#endif
