/* attention.c - multi-head attention: out( concat_h softmax(q_h k_h' / sqrt(d)) v_h ), q = query(x), k =
 * key(memory), v = value(memory). Vaswani et al. 2017, section 3.2.
 *
 * Keys and values are made apart from the rest, so that several passes can look at one memory that is
 * projected once.                                                                                          */
#include "nn/nn.h"

void nn_attention_init(nn_attention *a, nn_scope s, const nn_names *names, long width, long memory_width,
                       int heads, nn_init weight, nn_init out_weight)
{
    if (heads < 1 || width % heads)
        ag_fail("nn_attention", "%s: a width of %ld cannot be cut into %d heads", s.prefix, width, heads);
    a->heads = heads;
    nn_linear_init(&a->query, nn_sub(s, "%s", names->query), width, width, weight);
    nn_linear_init(&a->key, nn_sub(s, "%s", names->key), width, memory_width, weight);
    nn_linear_init(&a->value, nn_sub(s, "%s", names->value), width, memory_width, weight);
    nn_linear_init(&a->out, nn_sub(s, "%s", names->out), width, width, out_weight);
}

nn_kv nn_attention_memory(const nn_attention *a, tape *t, tensor *memory)
{
    nn_kv kv;
    kv.k = nn_linear_forward(&a->key, t, memory);                          /* (B',Tk,D) */
    kv.v = nn_linear_forward(&a->value, t, memory);                        /* (B',Tk,D) */
    return kv;
}

tensor *nn_attention_forward(const nn_attention *a, tape *t, tensor *x, nn_kv memory, ag_attn options)
{
    options.heads = a->heads;
    tensor *q = nn_linear_forward(&a->query, t, x);                        /* (B,Tq,D) */
    tensor *y = ag_attention(t, q, memory.k, memory.v, &options);          /* (B,Tq,D) */
    return nn_linear_forward(&a->out, t, y);                               /* (B,Tq,D) */
}
