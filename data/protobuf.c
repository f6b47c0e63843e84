/* protobuf.c - a reader of Protocol Buffers' wire format over bytes that may be hostile: a message is a row
 * of fields, each a varint (number << 3 | form) and a value, whose form is 0 varint, 1 eight bytes, 2 a
 * length and as many bytes, 5 four bytes (developers.google.com/protocol-buffers/docs/encoding). Nothing is
 * read beyond the end of the message, and nothing is copied. */
#include "data/internal.h"
#include <string.h>

enum { VARINT_BITS = 64 };

static bool varint(protobuf *p, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; p->at < p->end && shift < VARINT_BITS; shift += 7) {
        uint8_t byte = *p->at++;
        if (shift == 63 && byte > 1)               /* more than 64 bits */
            return false;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static uint64_t little(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

bool protobuf_next(protobuf *p, protobuf_field *f)
{
    uint64_t key = 0;
    *f = (protobuf_field){ 0 };
    if (p->broken || p->at == p->end)
        return false;
    p->broken = !varint(p, &key) || key >> 3 == 0 || key >> 3 > INT32_MAX;
    if (p->broken)
        return false;
    f->number = (int)(key >> 3);
    f->form = (int)(key & 7);
    long fixed = f->form == 1 ? 8 : f->form == 5 ? 4 : 0;
    if (f->form == 0 || f->form == 2)
        p->broken = !varint(p, &f->value);
    else
        p->broken = !fixed;
    if (f->form == 2 && !p->broken)
        p->broken = f->value > (uint64_t)(p->end - p->at);
    if (p->broken || fixed > p->end - p->at) {
        p->broken = true;
        return false;
    }
    if (fixed)
        f->value = little(p->at, (int)fixed);
    f->bytes = p->at;
    f->n = f->form == 2 ? (long)f->value : 0;
    p->at += f->n + fixed;
    return true;
}
