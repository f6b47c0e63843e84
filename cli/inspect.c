/* inspect.c - `blip2 inspect MODEL.h5`: what a model file holds. */
#include "cli/commands.h"
#include "blip2/blip2.h"
#include <stdio.h>
#include <string.h>


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
            printf("  %-74s %-18s %10ld%s\n", p->name, SHAPE(p->value), p->value->size,
                   tower ? "  tower" : "");
        frozen_tower += !p->alias_of && tower ? p->value->size : 0;
    }
    long all = m->store->frozen;
    printf("\n%ld parameters, %.1f MiB in memory: %ld of the frozen towers, %ld that BLIP-2 trains\n", all,
           (double)all * sizeof(real) / (1 << 20), frozen_tower, all - frozen_tower);
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
    if (!blip2_open(&m, argv[1], &sealed, &e))
        return cli_fail(&e);
    h5 *f = h5_open(argv[1], &e);
    char *source = f ? h5_text(f, "", "source", &e) : NULL;
    if (f)
        h5_close(f);
    config_table table = blip2_config_table("", &m.config);
    char *config = config_print(&table, 1, false);
    if (common.json) {
        printf("{\"model\":");
        cli_json_text(argv[1]);
        printf(",\"source\":");
        cli_json_text(source ? source : "");
        printf(",\"sealed\":%s,\"parameters\":%ld,\"tensors\":%ld}\n", sealed ? "true" : "false",
               m.store->frozen, m.store->count);
    } else {
        printf("%s: %s; %s\n\n%s\n", argv[1], source ? source : "unknown source",
               sealed ? "digests hold" : "no digests", config ? config : "");
        print_table(&m);
    }
    mem_free(source);
    mem_free(config);
    blip2_close(&m);
    return 0;
}

const cli_command cli_inspect = {
    "inspect", "MODEL.h5", "show architecture, parameters and counts of a model file", run,
    "Every parameter is read and its digest checked; what is missing, misshapen or unexpected is listed."
};
