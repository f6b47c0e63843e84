/* import.h - what the files of the importer share (data.h): the pictures found so far with what is said and
 * asked about them. Readers of forms call import_picture, then import_caption and import_question. */
#ifndef DATA_IMPORT_H
#define DATA_IMPORT_H
#include "data/internal.h"

enum { IMPORT_DRAWN = -1 };                        /* a split that the hash of the id decides */
typedef struct import_text { struct import_text *next; const char *text; } import_text;
typedef struct import_asked {
    struct import_asked *next;
    const char *question, *answer;                 /* answer "": nobody gave one */
    const char *type, *question_type, *id;         /* NULL: not given */
    const char *const *answers; long answer_count; /* all that people gave; 0: `answer` alone */
} import_asked;
typedef struct import_item {           /* a picture */
    const char *path, *id, *key;       /* without links; NULL: none; what its split is drawn from */
    const char *held;                  /* its name in the new folder where it is there already (a shard's) */
    int split;
    bool bare;                         /* of a source for tests: it stays without a text, too */
    long known_from, known;            /* the captions from one to before the other are not taken again */
    import_text *captions, **next_caption;
    import_asked *questions, **next_question;
    long caption_count, question_count;
} import_item;

struct import_slot { uint64_t hash; const char *key; long value; };
typedef struct import_map { struct import_slot *slot; long n, slots; } import_map;
enum { IMPORT_NONE = -1, IMPORT_MISSING = -2 };    /* values of a map that are no place in the list */

typedef struct import {
    const import_options *o;
    import_result *result;
    const struct folder *folder;       /* what is being written */
    import_item *items; long count, room;
    import_map paths, ids, names;      /* -> place in items; names in the new folder that are taken */
    struct record_block *memory;
    long touched;                      /* times that a source has named a picture */
    bool no_memory, stopped, images;   /* images: that folder is made */
    int split;                         /* of the source that is read; IMPORT_DRAWN: not said */
    const char *root, *real_root;      /* of its pictures */
    json_t *questions, *answers;       /* VQA's two files, until both are there: lists of {"split", "doc"} */
    import_progress progress; void *context; long met;     /* met: how many records and pictures */
    error *e;                          /* a line for each problem */
} import;

/* ---- import_items.c ---- */
bool import_root(import *m, const char *folder);   /* where paths start from now on; false: no such folder */
/* The picture of this path below the root, and id (NULL: none). where: "list.json:12". NULL: it is left out,
 * which is reported or counted. key: NULL, or what the split is drawn from where there is no id. */
import_item *import_picture(import *m, const char *where, const char *path, const char *id, int split);
/* Of a picture that is there: its id (NULL: none) and split; false: they contradict what is known of it. */
bool import_settle(import *m, const char *where, import_item *item, const char *id, int split);
bool import_inside(const import *m, const char *real_path);        /* below the root, or --allow-outside */
bool import_utf8(const char *text);
bool import_taken(import *m, const char *name);    /* is this name in the new folder taken? It is now */
bool import_goes_on(import *m);        /* asked at each record and picture; false: no memory, or stopped */
/* A picture that stands in the new folder already. */
import_item *import_held(import *m, const char *where, const char *name, const char *id, int split);
void import_caption(import *m, const char *where, import_item *i, const char *text);
void import_question(import *m, const char *where, import_item *i, const import_asked *q);
bool import_problem(import *m, const char *where, const char *what);           /* false */
int import_split(const char *name);    /* train, val, validation, dev, restval, test; IMPORT_DRAWN: none */
bool import_for_tests(const import *m);            /* "test:SRC": texts may be missing */
/* The value of a key, or `value` from now on; NULL: memory is out. */
long *import_entry(import *m, import_map *t, const char *key, long value);
void *import_take(import *m, long bytes);
char *import_copy(import *m, const char *text, long n);
void import_free(import *m);

/* ---- the forms ---- */
void import_folder(import *m, const char *path);                       /* import_folder.c */
bool import_easy(import *m, const char *path);     /* false: not easy-vqa's form; import_easy.c */
void import_easy_questions(import *m, const char *name, json_t *list);
void import_json(import *m, const char *path);                         /* import_json.c */
enum { IMPORT_NUMBER = 32 };
const char *import_number(const json_t *v, char number[IMPORT_NUMBER]);        /* a number or text, as text */
/* The texts of a list of answers, *n of them; mem_free. NULL: memory is out. */
const char **import_answers(import *m, const char *where, const json_t *list, long *n);
const char *import_majority(import *m, const char *const *answers, long n);    /* n 0: NULL */
/* `said`, or what most of answers (n) say where it is empty or missing. "": a source for tests has none;
 * NULL: there is none elsewhere, or it is neither a text nor a number. */
const char *import_answer(import *m, const json_t *said, const char *const *answers, long n,
                          char number[IMPORT_NUMBER]);
void import_record(import *m, const char *where, json_t *o);           /* import_record.c */
const char *import_named(const json_t *o);          /* the picture that a record names; NULL: none */
/* What a record says of a picture that is there already: captions, questions, id and split. */
void import_record_of(import *m, const char *where, import_item *i, const json_t *o);
void import_join(import *m);           /* VQA's questions with their answers; import_vqa.c */
bool import_whole(import *m, const char *name, json_t *doc);           /* import_coco.c */
void import_regions(import *m, const char *where, json_t *image);      /* Visual Genome; import_coco.c */
void import_genome_questions(import *m, const char *where, json_t *image);
void import_table(import *m, const char *path, char separator);        /* import_table.c */
void import_shard(import *m, const char *path);                        /* tar.c */
/* The first of the usual places of picture `number` that is there: "COCO_train2014_000000000042.jpg". */
const char *import_place(import *m, const char *subtype, const char *number, char *to, long room);

bool import_write(import *m, const struct folder *f, import_progress progress, void *context, error *e);
#endif
