/* llm.c - which language model there is, and what those who feed one need to know of it. */
#include "blip2/internal.h"

blip2_llm blip2_llm_of(const blip2_config *c)
{
    const blip2_opt_config *o = &c->opt;
    const blip2_t5_config *f = &c->t5;
    switch (c->llm) {
    case BLIP2_LLM_OPT:
        return (blip2_llm){ "opt", "opt_model", "opt_proj", .vocab = o->vocab, .width = o->width,
                            .positions = o->positions, .start = o->bos, .eos = o->eos, .pad = o->pad };
    case BLIP2_LLM_T5:
        return (blip2_llm){ "t5", "t5_model", "t5_proj", .encodes = true, .vocab = f->vocab,
                            .width = f->width, .start = f->start, .eos = f->eos, .pad = f->pad };
    case BLIP2_LLM_NONE:
        break;
    }
    return (blip2_llm){ .name = "none" };
}
