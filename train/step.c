/* step.c - one optimiser step: forward and backward of each part of the batch; gradients averaged, checked,
 * clipped; AdamW. The loop of `train` and `bench` both call it, so what is timed is what trains.           */
#include "train/ranks.h"
#include <math.h>
#include <stdio.h>

static bool all_finite(const tensor *x)
{
    for (long j = 0; x->data && j < x->size; j++)          /* none: kept in low precision, as it was read */
        if (!isfinite(x->data[j]))
            return false;
    return true;
}

/* Where the trouble began: a parameter, or else the first tensor in order of execution that is not finite. */
static void first_bad(const train_stepper *s, char *to, size_t size)
{
    for (long k = 0; k < s->store->count; k++) {
        const tensor *x = s->store->entries[k].value;
        if (!all_finite(x)) {
            snprintf(to, size, "parameter %s%s", x->name, SHAPE(x));
            return;
        }
    }
    for (long i = 0; i < ag_node_count(s->t); i++) {
        const ag_node *n = ag_node_at(s->t, i);
        for (int k = 0; k <= n->nin; k++) {
            const tensor *x = k < n->nin ? n->in[k] : n->out;
            if (x && !all_finite(x)) {
                snprintf(to, size, "%s %s of operation %ld (%s)", k < n->nin ? "input" : "result",
                         SHAPE(x), i, n->op->name);
                return;
            }
        }
    }
    snprintf(to, size, "a value that no recorded operation made");
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

static void seed(const train_stepper *s)
{
    ag_training(s->t, true);
    ag_seed(s->t, (ag_random){ .seed = s->seed, .step = (uint32_t)(s->step + 1) });
}

static void begin(const train_stepper *s)
{
    ag_reset(s->t);
    seed(s);
}

bool train_step(train_stepper *s, train_forward forward, void *ctx, train_losses *losses, error *e)
{
    char where[256];
    int parts = s->accumulate > 0 ? s->accumulate : 1;
    double share = 1.0 / (parts * ag_world(s->ranks));     /* gradients are summed, over parts and ranks */
    *losses = (train_losses){ 0 };
    nn_zero_grad(s->store);
    begin(s);
    if (s->before)
        s->before(ctx, s->t);
    ag_mark whole = ag_here(s->t);
    for (int part = 0; part < parts; part++) {
        if (s->before) {
            ag_rewind(s->t, whole);
            seed(s);
        } else if (part)
            begin(s);
        train_losses now = { 0 };
        tensor *loss = forward(ctx, s->t, part, &now);
        if (!loss->needs_grad)
            return error_usage(e, "model.freeze, run.loss_weights: expected a loss that something trained "
                               "has a part in; all that this one comes from is frozen");
        if (share < 1)
            loss = ag_scale(s->t, loss, share);
        bool finite = isfinite(ag_value(loss));
        if (!finite) {
            first_bad(s, where, sizeof where);
            error_set(e, "step %ld: the loss is not finite; first bad tensor: %s", s->step + 1, where);
        }
        if (!ranks_status(s->ranks, finite, &now, e))
            return false;
        ag_backward(s->t, loss);
        losses->count = now.count;
        for (int i = 0; i < now.count; i++) {
            losses->name[i] = now.name[i];
            losses->value[i] += now.value[i] / parts;
        }
    }
    if (s->after) {
        ag_rewind(s->t, whole);
        s->after(ctx, s->t);
    }
    nn_finish_grad(s->store);
    if (ag_spent(0))                                       /* only measured: there are no gradients */
        return ++s->step;
    if (!ranks_sum(s->ranks, s->store->grads, s->store->trainable, e))
        return false;
    losses->grad_norm = train_grad_norm(s->store);
    train_group_norms(s->store, losses);
    if (!isfinite(losses->grad_norm))
        return error_set(e, "step %ld: the gradient is not finite; first bad tensor: the gradient of %s",
                         s->step + 1, bad_gradient(s->store));
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
