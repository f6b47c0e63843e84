/* attention.h - one picture, what the Q-Former looked at in it, and the sheets that show it. */
#ifndef CLI_ATTENTION_H
#define CLI_ATTENTION_H
#include "eval/eval.h"

typedef struct attention_view {
    const char *folder;
    picture picture;
    long grid;                                     /* patches a side; token 0 is the class token */
    eval_attention a;
    const char *text, *const *tokens;              /* NULL, or the text and its (T) tokens */
} attention_view;

/* Each writes a PNG file into the folder: of a layer, queries below each other, heads side by side; */
bool attention_layer(const attention_view *v, long layer, const char *file, error *e);
bool attention_overview(const attention_view *v, const char *file, error *e); /* all layers, means of heads */
bool attention_words(const attention_view *v, long layer, const char *file, error *e);    /* self-attention */
double attention_patch(const attention_view *v, long layer, long head, long query, long token);
                                       /* head -1: mean over heads; query -1: mean over queries */
#endif
