/* step.c - one optimiser step: forward and backward of each part of the batch, gradients averaged, checked, clipped, AdamW.
 * The loop of `train` and `bench` both call it, so what is timed is what trains.                                  */
#include "train/train.h"
#include <math.h>
#include <stdio.h>

/* The first operation in order of execution whose result is not finite: where the trouble began. */
static void first_bad(const tape *t, char *to, size_t size)
{
    snprintf(to, size, "a value that no recorded operation made");
    for (long i = 0; i < ag_node_count(t); i++) {
        const ag_node *n = ag_node_at(t, i);
        for (int k = 0; k < n->nin; k++)
            for (long j = 0; n->in[k] && n->in[k]->name && j < n->in[k]->size; j++)
                if (!isfinite(n->in[k]->data[j])) {
                    snprintf(to, size, "%s%s, input of operation %ld (%s)", n->in[k]->name, SHAPE(n->in[k]), i, n->op->name);
                    return;
                }
        for (long j = 0; j < n->out->size; j++)
            if (!isfinite(n->out->data[j])) {
                snprintf(to, size, "result %s of operation %ld (%s)", SHAPE(n->out), i, n->op->name);
                return;
            }
    }
}

static const char *bad_gradient(const nn_store *s)
{
    for (long k = 0; k < s->count; k++) {
        const nn_entry *p = &s->entries[k];
        for (long j = 0; !p->frozen && !p->alias_of && j < p->value->size; j++)
            if (!isfinite(p->value->grad[j]))
                return p->value->name;
    }
    return "(none)";
}

bool train_step(train_stepper *s, train_forward forward, void *ctx, train_losses *losses, error *e)
{
    char where[256];
    int parts = s->accumulate > 0 ? s->accumulate : 1;
    *losses = (train_losses){ 0 };
    nn_zero_grad(s->store);
    for (int part = 0; part < parts; part++) {
        ag_reset(s->t);
        ag_training(s->t, true);
        ag_seed(s->t, (ag_random){ .seed = s->seed, .step = (uint32_t)(s->step + 1) });
        train_losses now = { 0 };
        tensor *loss = forward(ctx, s->t, part, &now);
        if (parts > 1)
            loss = ag_scale(s->t, loss, 1.0 / parts);
        if (!isfinite(ag_value(loss))) {
            first_bad(s->t, where, sizeof where);
            return error_set(e, "step %ld: the loss is not finite; first bad tensor: %s", s->step + 1, where);
        }
        ag_backward(s->t, loss);
        losses->count = now.count;
        for (int i = 0; i < now.count; i++) {
            losses->name[i] = now.name[i];
            losses->value[i] += now.value[i] / parts;
        }
    }
    nn_finish_grad(s->store);
    losses->grad_norm = train_grad_norm(s->store);
    if (!isfinite(losses->grad_norm))
        return error_set(e, "step %ld: the gradient is not finite; first bad tensor: %s", s->step + 1, bad_gradient(s->store));
    if (s->clip > 0 && losses->grad_norm > s->clip)
        train_scale_grad(s->store, s->clip / losses->grad_norm);
    train_adamw_step(s->store, &s->adamw, ++s->step);
    return true;
}

void train_loss(train_losses *l, const char *name, double value)
{
    if (l->count < TRAIN_LOSSES) {
        l->name[l->count] = name;
        l->value[l->count++] = value;
    }
}
