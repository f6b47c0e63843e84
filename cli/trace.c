/* trace.c - `blip2 trace MODEL.h5 BATCH.h5 -o TRACE.h5`: everything of one pass by name, to be compared with
 * any other implementation.                                                                                */
#include "cli/commands.h"
#include "eval/eval.h"
#include "train/train.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct tracing {
    const char *model, *batch, *out;
    cli_common common;
    bool grad, tower;                  /* tower: the vision tower is trained as well */
    h5_out *file;
    long datasets, values, grads;      /* written; grads: of them, gradients of parameters */
    double norm;                       /* of the whole loss's gradient */
} tracing;

/* ---- which task --------------------------------------------------------------------------------------- */
/* What the cases of golden/lavis are: `kind` is a root attribute. Without one the inputs tell. */
static const struct { const char *kind; int count; blip2_task task[2]; } kinds[] = {
    { "stage1", 1, { BLIP2_TASK_STAGE1 } }, { "optim", 1, { BLIP2_TASK_STAGE1 } },
    { "opt", 1, { BLIP2_TASK_STAGE2 } }, { "t5", 1, { BLIP2_TASK_STAGE2 } },
    { "t5_instruct", 1, { BLIP2_TASK_STAGE2 } }, { "vit", 1, { BLIP2_TASK_VISION } },
    { "stage1_infer", 2, { BLIP2_TASK_FEATURES, BLIP2_TASK_ITM } },
};

static int by_inputs(h5 *f, blip2_task to[2])
{
    bool text = h5_has(f, "inputs/text") == H5_DATASET || h5_has(f, "inputs/ids") == H5_DATASET;
    *to = h5_has(f, "inputs/text_input") == H5_DATASET ? BLIP2_TASK_STAGE2
        : text ? BLIP2_TASK_STAGE1 : BLIP2_TASK_VISION;
    return 1;
}

/* How many tasks; 0: this kind is none. */
static int tasks_of(h5 *f, blip2_task to[2], error *e)
{
    error none;
    char *kind = h5_text(f, "", "kind", &none);
    int n = kind ? 0 : by_inputs(f, to);
    for (size_t i = 0; kind && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kind, kinds[i].kind)) {
            n = kinds[i].count;
            memcpy(to, kinds[i].task, sizeof kinds[i].task);
        }
    if (!n)
        error_usage(e, "%s: a case of kind \"%s\" is not one pass of a model; expected --task, or a case of "
                    "kind stage1, opt, t5, vit or stage1_infer", QUOTE(h5_path(f)), QUOTE(kind));
    mem_free(kind);
    return n;
}

/* ---- what comes out ----------------------------------------------------------------------------------- */
static void print_row(const tracing *r, const char *name, int ndim, const long *dim, double rms,
                      double largest)
{
    char shape[96] = "(";
    for (int i = 0, n = 1; i < ndim; i++)
        n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%ld", i ? "," : "", dim[i]);
    strcat(shape, ")");
    if (!r->common.json) {
        if (r->datasets == 1)
            printf("%-44s %-18s %12s %12s\n", "name", "shape", "rms", "largest");
        printf("%-44s %-18s %12.6g %12.6g\n", name, shape, rms, largest);
        return;
    }
    printf("{\"name\":\"%s\",\"shape\":[%.*s],", name, (int)strlen(shape) - 2, shape + 1);
    if (isfinite(rms) && isfinite(largest))
        printf("\"rms\":%.9g,\"largest\":%.9g}\n", rms, largest);
    else
        printf("\"rms\":null,\"largest\":null}\n");
}

static void take(void *context, const char *name, h5_type type, int ndim, const long *dim, const void *data)
{
    tracing *r = context;
    double square = 0, largest = 0;
    long n = 1;
    for (int i = 0; i < ndim; i++)
        n *= dim[i];
    for (long i = 0; i < n; i++) {
        double x = type == H5_INTS ? (double)((const int *)data)[i] : (double)((const real *)data)[i];
        square += x * x;
        largest = isnan(x) || fabs(x) > largest ? fabs(x) : largest;
    }
    h5_write(r->file, name, type, ndim, dim, data);
    r->datasets++;
    r->values += n;
    bool of_parameter = !strncmp(name, "out/grads", 9);
    r->grads += of_parameter;
    if (r->common.json || !(of_parameter || r->common.quiet))
        print_row(r, name, ndim, dim, sqrt(square / (double)(n ? n : 1)), largest);
}

static void print_end(const tracing *r, const char *task)
{
    if (r->common.json) {
        printf("{\"trace\":");
        cli_json_text(r->out);
        printf(",\"task\":\"%s\",\"datasets\":%ld,\"values\":%ld,\"gradients\":%ld}\n", task, r->datasets,
               r->values, r->grads);
        return;
    }
    if (r->common.quiet)
        return;
    if (r->grads)
        printf("%ld gradients of parameters; those of the whole loss have the norm %.6g\n", r->grads,
               r->norm);
    printf("%s: %ld datasets, %ld values\n", r->out, r->datasets, r->values);
}

/* ---- the pass ----------------------------------------------------------------------------------------- */
/* Scores of all pictures and texts, the best k re-ranked, where the case's configuration names k. */
static void give_scores(tracing *r, h5 *f, const blip2_model *m, tape *t, const blip2_batch *b)
{
    error none;
    char *text = h5_text(f, "", "config", &none);
    json_t *json = text ? json_loads(text, 0, NULL) : NULL;
    long k = (long)json_integer_value(json_object_get(json, "k_test"));
    json_decref(json);
    mem_free(text);
    if (k < 1 || !b->features)
        return;
    real *features = ag_alloc_real(t, b->features->size);
    ag_read(b->features, features);
    eval_retrieval s = eval_retrieve(m, t, features, b->features->dim[0], b->features->dim[1], b->wide, k);
    take(r, "out/score_i2t", H5_REALS, 2, (long[]){ s.images, s.texts }, s.i2t);
    take(r, "out/score_t2i", H5_REALS, 2, (long[]){ s.texts, s.images }, s.t2i);
}

struct pass { tracing *r; h5 *f; const blip2_model *m; tape *t; blip2_task task; blip2_batch batch; };

static void run_pass(void *context)
{
    struct pass *p = context;
    blip2_trace(p->m, p->t, p->task, &p->batch, p->r->grad, take, p->r);
    if (p->task == BLIP2_TASK_ITM)
        give_scores(p->r, p->f, p->m, p->t, &p->batch);
}

static bool run_task(tracing *r, h5 *f, const blip2_model *m, blip2_task task, error *e)
{
    struct pass p = { .r = r, .f = f, .m = m, .t = ag_tape_new(), .task = task };
    if (!p.t)
        return error_set(e, "out of memory");
    ag_seed(p.t, (ag_random){ .seed = (uint64_t)r->common.seed });
    bool ok = blip2_batch_read(f, p.t, &m->config, task, &p.batch, e) && ag_try(p.t, run_pass, &p, e);
    if (ok && r->grad) {
        nn_finish_grad(m->store);
        r->norm = train_grad_norm(m->store);
    }
    ag_tape_free(p.t);
    return ok;
}

static bool run_all(tracing *r, h5 *f, const blip2_task *tasks, int count, error *e)
{
    static const char *const towers[] = { "visual_encoder", "opt_model", "t5_model", NULL };
    static const char *const all[] = { "", NULL };
    bool sealed, tower = r->tower || tasks[0] == BLIP2_TASK_VISION;
    blip2_model m;
    if (!blip2_open_case(&m, r->model, !r->grad ? all : tower ? towers + 1 : towers, &sealed, e))
        return false;
    if (!sealed && !r->common.quiet)
        cli_warn("%s: has no digests, damage would not be seen", QUOTE(r->model));
    bool ok = (r->file = h5_create(r->out, e)) != NULL;
    for (int i = 0; ok && i < count; i++)
        ok = run_task(r, f, &m, tasks[i], e);
    if (ok) {
        h5_write_text(r->file, "task", blip2_tasks[tasks[0]]);
        h5_write_text(r->file, "model", r->model);
        h5_write_text(r->file, "batch", r->batch);
        ok = h5_finish(r->file, e);
    } else if (r->file)
        h5_abandon(r->file);
    blip2_close(&m);
    return ok;
}

static int task_named(const char *name, error *e)
{
    for (int i = 0; i < BLIP2_TASKS; i++)
        if (!strcmp(name, blip2_tasks[i]))
            return i;
    const char *like = nearest(name, blip2_tasks, BLIP2_TASKS);
    error_usage(e, "trace: --task: expected stage1, stage2, itm, features or vision, found \"%s\"%s%s%s",
                QUOTE(name), like ? ", did you mean " : "", like ? like : "", like ? "?" : "");
    return -1;
}

static int run(int argc, char **argv)
{
    tracing r = { .common = { .seed = 1 } };
    const char *name = NULL;
    cli_option options[] = {
        { "out", "TRACE.h5", CLI_TEXT, &r.out, 0, 0, "the file that is written; -o is the same" },
        { "task", "TASK", CLI_TEXT, &name, 0, 0, "stage1, stage2, itm, features or vision" },
        { "grad", NULL, CLI_FLAG, &r.grad, 0, 0, "go back too: gradients of parameters and inputs" },
        { "tower", NULL, CLI_FLAG, &r.tower, 0, 0, "with --grad: through the vision tower too" },
    };
    int code, count = 1, named = 0;
    blip2_task tasks[2];
    error e;
    if (!cli_parse(&argc, argv, options, 4, &r.common, &code))
        return code;
    if (argc != 3 || !r.out)
        return cli_usage("trace", "a model, a batch and -o TRACE.h5 are needed");
    if (r.tower && !r.grad)
        return cli_usage("trace", "--tower goes with --grad");
    if (!cli_may_write("trace", r.out, ".h5 .hdf5", 2, (const char *const *)argv + 1)
        || !cli_spares_models("trace", r.out))
        return 2;
    if (name && (named = task_named(name, &e)) < 0)
        return cli_fail(&e);
    r.model = argv[1];
    r.batch = argv[2];
    h5 *f = h5_open(r.batch, &e);
    if (!f)
        return cli_fail(&e);
    tasks[0] = (blip2_task)named;
    bool ok = name || (count = tasks_of(f, tasks, &e)) > 0;
    if (ok && r.grad && (tasks[0] == BLIP2_TASK_ITM || tasks[0] == BLIP2_TASK_FEATURES))
        ok = error_usage(&e, "trace: --grad: task %s has no loss to go back from; expected stage1, stage2 or "
                         "vision",
                         blip2_tasks[tasks[0]]);
    ok = ok && run_all(&r, f, tasks, count, &e);
    h5_close(f);
    if (!ok)
        return cli_fail(&e);
    print_end(&r, blip2_tasks[tasks[0]]);
    return 0;
}

const cli_command cli_trace = {
    "trace", "MODEL.h5 BATCH.h5 -o TRACE.h5", "write every activation, loss and gradient of one pass by name",
    run,
    "MODEL.h5 is a model file, or a case in the form of golden/lavis (parameters under weights/). BATCH.h5\n"
    "has inputs/image (B,3,S,S), normalised, or inputs/vit_out (B,N,E) in front of ln_vision, and\n"
    "  stage1    inputs/text (B,T): ids without [CLS] and [SEP], -1 behind the last; or finished inputs/ids\n"
    "            and inputs/text_mask. May have inputs/image_id, neg_image and neg_text (B); negatives that\n"
    "            are not given are drawn by --seed and written\n"
    "  stage2    inputs/text_input (B,T): ids without special tokens, and text_output for a T5; or "
    "inputs/ids\n"
    "            and text_mask; may have inputs/prompt_tokens: how many first tokens carry no loss\n"
    "  features, itm   inputs/text (M,T), M at least B: text b goes with picture b\n"
    "  vision    may have inputs/cot (B,N,E): the loss is sum(out * cot); drawn by --seed if not given\n"
    "Without --task the attribute `kind` of BATCH.h5 or its inputs decide. TRACE.h5 has the same names:\n"
    "out/losses, out/query_output, out/grads/NAME, ...: docs/windows.md. Nothing is dropped, whatever the\n"
    "model's dropout. Towers are frozen."
};
