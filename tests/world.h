/* world.h - a small data set on disk, and configurations that train on it in a moment. */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H
#include "tests/tests.h"
#include "train/train.h"

/* IN_FOLDER: "world" with 64 pictures for training and 16 for tests, vocabularies "bert" and "llm". */
void world_make(void);
/* Three steps of a task into IN_FOLDER(its name): "lm", "vit", then "stage1", which starts from "vit", and
 * "stage2", which starts from "stage1" and "lm".                                                           */
train_config world_config(train_task task);
void world_text(char to[CONFIG_TEXT_SIZE], const char *text);
void world_write(const train_config *c, const char *name);      /* a file of the test's folder */
void world_train(const train_config *c);           /* must succeed */
void world_train_all(train_task last);             /* what `last` starts from, and last */
#endif
