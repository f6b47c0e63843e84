/* eval_case.c - runs of `evaluate` on the test split of a small world (eval_case.h). */
#include "tests/eval_case.h"
#include <math.h>
#include <stdio.h>

static error e;

void case_begin(void)
{
    folder_begin();
    world_make();
}

eval_config case_config(const char *model, const char *list, const char *folder)
{
    eval_config c = eval_config_default();
    world_text(c.model, IN_FOLDER(model));
    world_text(c.root, IN_FOLDER("world"));
    world_text(c.list, list);
    world_text(c.output_dir, IN_FOLDER(folder));
    c.answer_length = 5;
    c.max_len = 8;
    return c;
}

void case_task(eval_config *c, const char *task)
{
    c->tasks.count = 1;
    world_text(c->tasks.item[0], task);
}

double case_value(const json_t *o, const char *key)
{
    return json_is_number(json_object_get(o, key)) ? json_number_value(json_object_get(o, key)) : NAN;
}

json_t *case_run(const eval_config *c)
{
    char *text = eval_run(c, &e);
    ck_assert_msg(text != NULL, "%s", e.text);
    json_t *o = json_loads(text, 0, NULL);
    mem_free(text);
    return o;
}

json_t *case_file(const char *name)
{
    json_t *o = json_load_file(IN_FOLDER(name), 0, NULL);
    ck_assert_msg(o != NULL, "%s", name);
    return o;
}

const char *case_warning(const json_t *figures, size_t i)
{
    const char *text = json_string_value(json_array_get(json_object_get(figures, "warnings"), i));
    return text ? text : "";
}

const char *case_picture(long i, char to[64])
{
    static record_list l;
    if (!l.count)
        ck_assert_msg(records_read(IN_FOLDER("world/test.jsonl"), &l, &e), "%s", e.text);
    snprintf(to, 64, "%s", l.items[i].image);
    return to;
}

void case_list(const char *name, const case_line *lines, int n)
{
    FILE *f = fopen(IN_FOLDER(name), "w");
    ck_assert(f != NULL);
    for (int i = 0; i < n; i++)
        fprintf(f, "{\"image\": \"%s\", \"image_id\": %d, %s}\n", CASE_PICTURE(lines[i].of), lines[i].id,
                lines[i].rest);
    ck_assert(!fclose(f));
}
