/* inspect.c - `blip2 inspect MODEL.h5`: what a model file holds. */
#include "cli/commands.h"
#include "cli/model.h"
#include <stdio.h>
#include <string.h>

/* ---- parts ----------------------------------------------------------------------------------------- */
static const char *const parts[] = { "visual_encoder", "ln_vision", "query_tokens", "Qformer", "vision_proj",
                                     "text_proj", "itm_head", "temp", "opt_proj", "opt_model", "t5_proj",
                                     "t5_model" };
enum { PARTS = sizeof parts / sizeof *parts };

static long count_of(const blip2_model *m, const char *part)
{
    long n = 0;
    for (long i = 0; i < m->store->count; i++) {
        const nn_entry *p = &m->store->entries[i];
        n += p->alias_of || !nn_has_prefix(p->name, part) ? 0 : p->value->size;
    }
    return n;
}

/* What a whole BLIP-2 has and this file has not; each is missed by some command. */
static int lacking(const blip2_model *m, const tokenizer *bert, const tokenizer *llm, const char *to[8])
{
    const blip2_config *c = &m->config;
    int n = 0;
    if (c->vision.kind == BLIP2_VIT_NONE)
        to[n++] = "vision tower";
    if (!c->qformer.queries)
        to[n++] = blip2_is_bert(c) ? "queries and cross-attention (a plain BERT)" : "Q-Former";
    if (c->qformer.queries && !c->stage1)
        to[n++] = "heads of stage 1 (match, embed, search)";
    if (c->llm == BLIP2_LLM_NONE)
        to[n++] = "language model (answer)";
    if ((c->qformer.queries || blip2_is_bert(c)) && c->qformer.text && !bert)
        to[n++] = "tokenizer of the Q-Former";
    if (c->llm != BLIP2_LLM_NONE && !llm)
        to[n++] = "tokenizer of the language model";
    return n;
}

static void print_parts(const blip2_model *m, const char *const *lack, int n, bool json)
{
    printf(json ? ",\"parts\":{" : "\n");
    for (int i = 0, met = 0; i < PARTS; i++) {
        long count = count_of(m, parts[i]);
        if (count && json)
            printf("%s\"%s\":%ld", met++ ? "," : "", parts[i], count);
        else if (count)
            printf("  %-16s %12ld\n", parts[i], count);
    }
    if (json)
        printf("},\"missing\":[");
    for (int i = 0; i < n; i++)
        printf(json ? "%s\"%s\"" : "%snot in it: %s\n", json && i ? "," : "", lack[i]);
    if (json)
        printf("]");
}

/* ---- parameters ------------------------------------------------------------------------------------ */
static long bytes_of(const nn_entry *p)
{
    const tensor *x = p->value;
    return p->alias_of ? 0 : x->frozen ? ag_frozen_bytes(x->frozen->type, x->frozen->N, x->frozen->K)
                                       : x->size * (long)sizeof(real);
}

static long bytes_of_all(const blip2_model *m)
{
    long sum = 0;
    for (long i = 0; i < m->store->count; i++)
        sum += bytes_of(&m->store->entries[i]);
    return sum;
}

static void print_table(const blip2_model *m)
{
    const blip2_llm llm = blip2_llm_of(&m->config);
    long frozen_tower = 0;
    for (long i = 0; i < m->store->count; i++) {
        const nn_entry *p = &m->store->entries[i];
        bool tower = nn_has_prefix(p->name, "visual_encoder")
                     || (llm.parameters && nn_has_prefix(p->name, llm.parameters));
        if (p->alias_of)
            printf("  %-74s = %s\n", p->name, p->alias_of);
        else
            printf("  %-74s %-18s %10ld  %-4s%s\n", p->name, SHAPE(p->value), p->value->size,
                   ag_dtype_name(p->kept), tower ? "  tower" : "");
        frozen_tower += !p->alias_of && tower ? p->value->size : 0;
    }
    long all = m->store->frozen;
    printf("\n%ld parameters, %.1f MiB in memory: %ld of the frozen towers, %ld that BLIP-2 trains\n", all,
           (double)bytes_of_all(m) / (1 << 20), frozen_tower, all - frozen_tower);
}

/* How many numbers of each type, and the bytes of all. */
static void print_types(const blip2_model *m)
{
    long numbers[AG_INT8 + 1] = { 0 };
    for (long i = 0; i < m->store->count; i++)
        if (!m->store->entries[i].alias_of)
            numbers[m->store->entries[i].kept] += m->store->entries[i].value->size;
    for (int type = AG_REAL; type <= AG_INT8; type++)
        if (numbers[type])
            printf(",\"%s\":%ld", ag_dtype_name((ag_dtype)type), numbers[type]);
    printf(",\"bytes\":%ld}\n", bytes_of_all(m));
}

static int run(int argc, char **argv)
{
    cli_common common = { 0 };
    int code;
    if (!cli_parse(&argc, argv, NULL, 0, &common, &code))
        return code;
    if (argc != 2)
        return cli_usage("inspect", "one model file is needed: inspect MODEL.h5");
    blip2_model m;
    bool sealed;
    error e;
    const nn_watch watch = cli_loading(common.quiet);
    if (!blip2_open_told(&m, argv[1], &sealed, &watch, &e))
        return cli_fail(&e);
    h5 *f = h5_open(argv[1], &e);
    char *source = f ? h5_text(f, "", "source", &e) : NULL;
    if (f)
        h5_close(f);
    tokenizer *bert = NULL, *llm = NULL;
    const char *lack[8];
    if (!eval_tokenizers(argv[1], &bert, &llm, &e)) {
        tokenizer_free(bert);                              /* where the other one is damaged */
        mem_free(source);
        blip2_close(&m);
        return cli_fail(&e);
    }
    int lacks = lacking(&m, bert, llm, lack);
    config_table table = blip2_config_table("", &m.config);
    char *config = config_print(&table, 1, false);
    if (common.json) {
        printf("{\"model\":");
        cli_json_text(argv[1]);
        printf(",\"source\":");
        cli_json_text(source ? source : "");
        printf(",\"sealed\":%s,\"parameters\":%ld,\"tensors\":%ld", sealed ? "true" : "false",
               m.store->frozen, m.store->count);
        print_parts(&m, lack, lacks, true);
        print_types(&m);
    } else {
        printf("%s: %s; %s\n\n%s\n", argv[1], source ? QUOTE(source) : "unknown source",
               sealed ? "digests hold" : "no digests", config ? config : "");
        print_table(&m);
        print_parts(&m, lack, lacks, false);
    }
    tokenizer_free(bert);
    tokenizer_free(llm);
    mem_free(source);
    mem_free(config);
    blip2_close(&m);
    return 0;
}

const cli_command cli_inspect = {
    "inspect", "MODEL.h5", "show architecture, parameters and counts of a model file", run,
    "Every parameter is read and its digest checked; what is missing, misshapen or unexpected is listed.\n"
    "Then the parameters of each part, and what a whole BLIP-2 has and this file has not."
};
