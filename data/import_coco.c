/* import_coco.c - files that are one JSON object, and Visual Genome's list.
 *   COCO captions   {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
 *                   of a source for tests all pictures, with and without "annotations"
 *                   (image_info_test2017.json)
 *   Karpathy        {"images": [{"filepath", "filename", "split", "cocoid", "sentences": [{"raw"}]}]}
 *   VQAv2, OK-VQA   {"questions": [...]} and {"annotations": [{"question_id", ...}]}: kept for import_vqa.c
 *   GQA             {"07333408": {"imageId", "question", "answer", "types"}}
 *   Visual Genome   [{"id", "regions": [{"image_id", "phrase"}]}]
 *                   [{"id", "qas": [{"image_id", "question", "answer", "qa_id"}]}]
 *   SBU             {"image_urls": [...], "captions": [...]}: addresses alone, an error              */
#include "data/import.h"
#include <stdio.h>
#include <string.h>

enum { PLACE_TEXT = 300, PATH = 2048 };

/* A text; of a source for tests, whose texts may be missing, or "". NULL: there is none. */
static const char *text_of(const import *m, const json_t *o, const char *key)
{
    const json_t *said = json_object_get(o, key);
    bool none = !said || json_is_null(said);
    return none && import_for_tests(m) ? "" : json_string_value(said);
}

/* ---- COCO's captions ----------------------------------------------------------------------------------- */
static void coco_caption(import *m, const char *where, json_t *names, json_t *annotation)
{
    char number[IMPORT_NUMBER], path[PATH];
    const char *id = import_number(json_object_get(annotation, "image_id"), number);
    const char *caption = text_of(m, annotation, "caption");
    const char *file = id ? json_string_value(json_object_get(names, id)) : NULL;
    if (!id || !caption) {
        import_problem(m, where, "image_id, caption: expected a number and a text");
        return;
    }
    if (!file) {
        import_problem(m, where, "image_id: \"images\" has no such picture");
        return;
    }
    import_item *i = import_picture(m, where, import_place(m, NULL, file, path, sizeof path), id,
                                    IMPORT_DRAWN);
    if (i)
        import_caption(m, where, i, caption);
}

/* Of a source for tests, where a picture needs no caption. */
static void coco_bare(import *m, const char *where, const char *id, const char *file)
{
    char path[PATH];
    import_picture(m, where, import_place(m, NULL, file, path, sizeof path), id, IMPORT_DRAWN);
}

/* annotations NULL: there are none */
static void coco(import *m, const char *name, json_t *images, json_t *annotations)
{
    char where[PLACE_TEXT], number[IMPORT_NUMBER];
    size_t k;
    json_t *one, *names = json_object();
    json_array_foreach(images, k, one) {
        const char *id = import_number(json_object_get(one, "id"), number);
        json_t *file = json_object_get(one, "file_name");
        snprintf(where, sizeof where, "%s: images[%zu]", name, k);
        if (!id || !json_is_string(file))
            import_problem(m, where, "id, file_name: expected a number and a text");
        else if (json_object_get(names, id) && !json_equal(json_object_get(names, id), file))
            import_problem(m, where, "id: an earlier picture has it");
        else if (json_object_set(names, id, file))
            m->no_memory = true;
        else if (import_for_tests(m))
            coco_bare(m, where, id, json_string_value(file));
    }
    json_array_foreach(annotations, k, one) {
        snprintf(where, sizeof where, "%s: annotations[%zu]", name, k);
        coco_caption(m, where, names, one);
    }
    json_decref(names);
}

/* ---- Karpathy's splits --------------------------------------------------------------------------------- */
static void karpathy(import *m, const char *where, json_t *image)
{
    char path[PATH], number[IMPORT_NUMBER];
    const char *file = json_string_value(json_object_get(image, "filename"));
    const char *folder = json_string_value(json_object_get(image, "filepath"));
    const char *split = json_string_value(json_object_get(image, "split"));
    json_t *id = json_object_get(image, "cocoid"), *sentences = json_object_get(image, "sentences"), *one;
    bool none = import_for_tests(m) && (!sentences || json_is_null(sentences));
    size_t k;
    if (!file || import_split(split) == IMPORT_DRAWN || (!json_is_array(sentences) && !none)) {
        import_problem(m, where, "filename, split, sentences: expected a text, train, restval, val or test, "
                       "and a list");
        return;
    }
    snprintf(path, sizeof path, "%s%s%s", folder ? folder : "", folder ? "/" : "", file);
    import_item *i = import_picture(m, where, path,
                                    import_number(id ? id : json_object_get(image, "imgid"), number),
                                    import_split(split));
    json_array_foreach(sentences, k, one) {
        const char *raw = text_of(m, one, "raw");
        if (i && raw)
            import_caption(m, where, i, raw);
        else if (i)
            import_problem(m, where, "sentences: expected objects with the text \"raw\"");
    }
}

/* ---- Visual Genome ------------------------------------------------------------------------------------- */
void import_regions(import *m, const char *where, json_t *image)
{
    char path[PATH], number[IMPORT_NUMBER];
    json_t *regions = json_object_get(image, "regions"), *one;
    json_t *id = json_object_get(image, "id"),
           *inner = json_object_get(json_array_get(regions, 0), "image_id");
    const char *name = import_number(id ? id : inner, number);
    size_t k;
    if (!json_is_array(regions) || (!name && json_array_size(regions))) {
        import_problem(m, where, "id, regions: expected a number and a list");
        return;
    }
    if (!name)
        return;
    import_item *i = import_picture(m, where, import_place(m, "", name, path, sizeof path), name,
                                    IMPORT_DRAWN);
    json_array_foreach(regions, k, one) {
        const char *phrase = text_of(m, one, "phrase");
        if (i && phrase)
            import_caption(m, where, i, phrase);
        else if (i)
            import_problem(m, where, "regions: expected objects with the text \"phrase\"");
    }
}

void import_genome_questions(import *m, const char *where, json_t *image)
{
    char path[PATH], number[IMPORT_NUMBER], id[IMPORT_NUMBER], said[IMPORT_NUMBER];
    json_t *qas = json_object_get(image, "qas"), *one, *outer = json_object_get(image, "id");
    size_t k;
    const char *bare = import_for_tests(m) && json_is_array(qas) ? import_number(outer, number) : NULL;
    if (bare)
        import_picture(m, where, import_place(m, "", bare, path, sizeof path), bare, IMPORT_DRAWN);
    json_array_foreach(qas, k, one) {
        const char *name = import_number(outer ? outer : json_object_get(one, "image_id"), number);
        import_asked q = { .question = json_string_value(json_object_get(one, "question")),
                           .answer = import_answer(m, json_object_get(one, "answer"), NULL, 0, said),
                           .id = import_number(json_object_get(one, "qa_id"), id) };
        import_item *i = NULL;
        if (!name || !q.question || !q.answer)
            import_problem(m, where, "id, qas: expected a number, and objects with the texts \"question\" "
                           "and \"answer\"");
        else
            i = import_picture(m, where, import_place(m, "", name, path, sizeof path), name, IMPORT_DRAWN);
        if (i)
            import_question(m, where, i, &q);
    }
    if (!json_is_array(qas))
        import_problem(m, where, "qas: expected a list of objects");
}

/* ---- GQA ----------------------------------------------------------------------------------------------- */
static void gqa(import *m, const char *where, const char *id, json_t *o)
{
    char path[PATH], number[IMPORT_NUMBER], said[IMPORT_NUMBER];
    const char *image = import_number(json_object_get(o, "imageId"), number);
    import_asked q = { .question = json_string_value(json_object_get(o, "question")), .id = id,
                       .answer = import_answer(m, json_object_get(o, "answer"), NULL, 0, said),
                       .type = json_string_value(json_object_get(json_object_get(o, "types"),
                                                                 "structural")) };
    if (!image || !q.question || !q.answer) {
        import_problem(m, where, "imageId, question, answer: expected texts");
        return;
    }
    import_item *i = import_picture(m, where, import_place(m, "", image, path, sizeof path), image,
                                    IMPORT_DRAWN);
    if (i)
        import_question(m, where, i, &q);
}

/* ---- which of them ------------------------------------------------------------------------------------- */
static void each_karpathy(import *m, const char *name, json_t *images)
{
    char where[PLACE_TEXT];
    size_t k;
    json_t *one;
    json_array_foreach(images, k, one) {
        snprintf(where, sizeof where, "%s: images[%zu]", name, k);
        karpathy(m, where, one);
    }
}

static void each_gqa(import *m, const char *name, json_t *doc)
{
    char where[PLACE_TEXT];
    const char *id;
    json_t *one;
    json_object_foreach(doc, id, one) {
        snprintf(where, sizeof where, "%s: %s", name, QUOTE(id));
        gqa(m, where, id, one);
    }
}

/* The document with its split, until the other file is there. */
static void keep(import *m, json_t **list, const char *name, json_t *doc)
{
    *list = *list ? *list : json_array();
    json_t *one = json_pack("{s:i, s:s, s:O}", "split", m->split, "name", name, "doc", doc);
    m->touched++;                                  /* a folder's name need not be UTF-8 */
    m->no_memory |= !one || json_object_set_new(one, "root", json_string_nocheck(m->root))
                    || json_array_append_new(*list, one);
}

bool import_whole(import *m, const char *name, json_t *doc)
{
    json_t *images = json_object_get(doc, "images"), *annotations = json_object_get(doc, "annotations");
    json_t *questions = json_object_get(doc, "questions");
    json_t *first = json_object_iter_value(json_object_iter(doc));
    bool answers = json_object_get(json_array_get(annotations, 0), "question_id") != NULL;
    if (json_is_array(questions))
        keep(m, &m->questions, name, doc);
    else if (json_is_array(annotations) && answers)
        keep(m, &m->answers, name, doc);
    else if (json_is_array(images) && json_is_array(annotations))
        coco(m, name, images, annotations);
    else if (json_object_get(json_array_get(images, 0), "file_name") && import_for_tests(m))
        coco(m, name, images, NULL);
    else if (json_object_get(json_array_get(images, 0), "file_name"))
        import_problem(m, name, "\"annotations\": COCO's pictures without their captions; expected the list "
                       "that has them, or test:FILE for pictures to be described");
    else if (json_is_array(images))
        each_karpathy(m, name, images);
    else if (json_is_array(json_object_get(doc, "image_urls")))
        import_problem(m, name, "\"image_urls\": SBU's addresses; pictures are not fetched from addresses: "
                       "img2dataset, for one, makes .tar shards of them, which are read here");
    else if (json_object_get(first, "imageId") || json_object_get(first, "question"))
        each_gqa(m, name, doc);
    else
        return false;
    return true;
}
