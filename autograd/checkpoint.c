/* checkpoint.c - recomputation (Chen et al. 2016, "Training deep nets with sublinear memory cost"): forward
 * runs fn without recording and keeps its outputs alone; backward runs it again on the end of the same tape,
 * goes back through the nodes it made, and drops them. Random numbers are keyed, so both runs draw the
 * same. */
#include "autograd/internal.h"

struct rerun { ag_function fn; void *ctx; ag_random random; bool training; };

static void checkpoint_backward(const ag_node *n)
{
    tape *t = n->tape;
    const struct rerun *r = n->saved;
    ag_mark mark = ag_here(t);
    tensor **again = ag_alloc(t, n->nout * (long)sizeof *again);
    ag_random random = ag_seed(t, r->random);
    bool training = ag_training(t, r->training);
    r->fn(t, r->ctx, n->in, again);
    for (int i = 0; i < n->nout; i++)
        if (n->outs[i]->grad && again[i]->needs_grad)
            ag_add_to_grad(again[i], n->outs[i]->grad);
    ag_backward_nodes(t, mark.nodes);
    ag_seed(t, random);
    ag_training(t, training);
    ag_rewind(t, mark);
}

static void twice(tape *t, void *ctx, tensor *const *in, tensor **out)  /* x (R,K), W (N,K) -> two (R,N) */
{
    ag_act act = *(const ag_act *)ctx;
    tensor *h = ag_linear(t, in[0], in[1], NULL, act);
    tensor *dropped = ag_dropout(t, h, (ag_drop){ 0.3, 7 });
    out[0] = ag_mul(t, dropped, dropped);
    out[1] = ag_scale(t, h, 0.5);
}

static tensor *checkpoint_example(ag_probe *p, int variant)
{
    static ag_act acts[] = { AG_GELU, AG_NONE, AG_QUICK_GELU, AG_GELU_TANH };
    tape *t = ag_probe_tape(p);
    long R = variant == 10 ? 0 : (long[]){ 3, 1, 5, 40, 2 }[variant % 5];
    long K = 1 + variant, N = variant == 3 ? 700 : 4;
    tensor *in[2] = { ag_input(p, "x", DIMS(R, K)), ag_input(p, "weight", DIMS(N, K)) }, *out[2];
    ag_training(t, variant % 2);
    ag_checkpoint(t, twice, &acts[variant % 4], 2, in, 2, out);
    return variant < 8 ? ag_add(t, out[0], out[1]) : out[1];
}

const ag_op ag_op_checkpoint = { "checkpoint", checkpoint_backward, checkpoint_example, .variants = 13 };

void ag_checkpoint(tape *t, ag_function fn, void *ctx, int nin, tensor *const *in, int nout, tensor **out)
{
    if (nout < 1)
        ag_fail("checkpoint", "at least one output, got %d", nout);
    ag_mark mark = ag_here(t);
    bool recording = ag_record_on(t, false), wanted = ag_wanted(t, false);
    ag_precision products = ag_computes(t);
    if (recording)                                 /* as the run that is recorded will make them */
        ag_compute(t, AG_EXACT);
    fn(t, ctx, in, out);
    ag_compute(t, products);
    bool worth = ag_wanted(t, false);
    for (int i = 0; i < nout; i++)                 /* an input that is passed on */
        worth |= out[i]->needs_grad;
    bool record_it = worth && recording;
    ag_wanted(t, wanted || worth);                 /* for a checkpoint around this one */
    ag_record_on(t, recording);
    ag_rewind_keep_all(t, mark, nout, out);
    if (!record_it)
        return;
    struct rerun *r = ag_alloc(t, sizeof *r);
    *r = (struct rerun){ fn, ctx, ag_random_now(t), ag_is_training(t) };
    ag_record_many(t, &ag_op_checkpoint, nout, out, r, nin, in);
}
