/* pickle.c - reads a Python pickle as data: a stack machine over the opcodes that torch.save writes (protocol
 * 2, and what 3 to 5 add for the same values). Names of code must be of a short list, each standing for one
 * of our own values; nothing is looked up, nothing is called. CPython's pickletools.py describes the
 * opcodes. */
#include "convert/internal.h"
#include <stdlib.h>
#include <string.h>

/* What a pickle may cost, whatever it says: its values, what moves over its stack, memo slots. */
enum { MOST_VALUES = 2 << 20, MOST_STEPS = 16 << 20, MOST_MEMO = 1 << 20, NO_VALUE = -1 };

typedef struct machine {
    pickle *p;
    const unsigned char *at, *end;
    const char *path;
    error *e;
    int32_t *stack; long depth, room;
    int32_t *memo; long memo_room, memo_next;
    long steps;
} machine;

static const struct { const char *module, *name; int is;
} known[] = { { "collections", "OrderedDict", PICKLE_ORDERED_DICT },
              { "torch._utils", "_rebuild_tensor_v2", PICKLE_TENSOR },
              { "torch._utils", "_rebuild_parameter", PICKLE_PARAMETER },
              { "torch", "DoubleStorage", W_F64 },
              { "torch", "FloatStorage", W_F32 },
              { "torch", "HalfStorage", W_F16 },
              { "torch", "BFloat16Storage", W_BF16 },
              { "torch", "LongStorage", W_I64 },
              { "torch", "IntStorage", W_I32 },
              { "torch", "ShortStorage", W_I16 },
              { "torch", "CharStorage", W_I8 },
              { "torch", "ByteStorage", W_U8 },
              { "torch", "BoolStorage", W_BOOL } };

/* ---- values ---------------------------------------------------------------------------------------- */
static bool bad(const machine *m, const char *what)
{
    return error_set(m->e, "%s: data.pkl: %s", QUOTE(m->path), what);
}

static bool no_memory(const machine *m) { return bad(m, "out of memory"); }

/* A new value's index, or NO_VALUE. */
static int32_t value(machine *m, pickle_value v)
{
    pickle *p = m->p;
    if (p->count == MOST_VALUES) {
        bad(m, "more than 2,097,152 values");
        return NO_VALUE;
    }
    if (p->count == p->room) {
        long room = p->room ? 2 * p->room : 1024;
        pickle_value *more = mem_grow(p->values, (size_t)p->room * sizeof *more, (size_t)room * sizeof *more);
        if (!more) {
            no_memory(m);
            return NO_VALUE;
        }
        p->values = more;
        p->room = room;
    }
    p->values[p->count] = v;
    return (int32_t)p->count++;
}

static bool add_item(machine *m, int32_t to, int32_t item)
{
    pickle_value *v = &m->p->values[to];
    if (v->count == v->room) {
        long room = v->room ? 2 * v->room : 4;
        int32_t *more = mem_grow(v->items, (size_t)v->room * sizeof *more, (size_t)room * sizeof *more);
        if (!more)
            return no_memory(m);
        v->items = more;
        v->room = room;
    }
    v->items[v->count++] = item;
    return true;
}

static bool push(machine *m, int32_t i)
{
    if (i == NO_VALUE)
        return false;
    if (++m->steps > MOST_STEPS)
        return bad(m, "more than 16,777,216 steps");
    if (m->depth == m->room) {
        long room = m->room ? 2 * m->room : 256;
        int32_t *more = mem_grow(m->stack, (size_t)m->room * sizeof *more, (size_t)room * sizeof *more);
        if (!more)
            return no_memory(m);
        m->stack = more;
        m->room = room;
    }
    m->stack[m->depth++] = i;
    return true;
}

static bool push_new(machine *m, pickle_value v) { return push(m, value(m, v)); }

static bool pop(machine *m, int32_t *i)
{
    *i = NO_VALUE;
    if (!m->depth || pickle_at(m->p, m->stack[m->depth - 1])->kind == P_MARK)
        return bad(m, "takes from an empty stack");
    *i = m->stack[--m->depth];
    return true;
}

/* The value on top; NULL: the stack is empty. */
static pickle_value *top(machine *m)
{
    if (m->depth)
        return &m->p->values[m->stack[m->depth - 1]];
    bad(m, "looks at an empty stack");
    return NULL;
}

/* Where on the stack the last mark stands; -1: nowhere. */
static long find_mark(machine *m)
{
    for (long i = m->depth - 1; i >= 0; i--)
        if (pickle_at(m->p, m->stack[i])->kind == P_MARK)
            return i;
    bad(m, "has no mark where it needs one");
    return -1;
}

/* ---- reading --------------------------------------------------------------------------------------- */
static const unsigned char *take(machine *m, uint64_t bytes)
{
    if (bytes > (uint64_t)(m->end - m->at)) {
        bad(m, "ends in the middle");
        return NULL;
    }
    const unsigned char *p = m->at;
    m->at += bytes;
    return p;
}

static bool take_number(machine *m, int bytes, uint64_t *x)
{
    const unsigned char *p = take(m, (uint64_t)bytes);
    *x = 0;
    for (int i = bytes - 1; p && i >= 0; i--)
        *x = *x << 8 | p[i];
    return p != NULL;
}

static bool push_text(machine *m, int bytes_of_length)
{
    uint64_t n;
    const unsigned char *p = take_number(m, bytes_of_length, &n) ? take(m, n) : NULL;
    return p && push_new(m, (pickle_value){ P_TEXT, .text = (const char *)p, .size = (long)n });
}

static bool push_int(machine *m, int bytes, bool with_sign)
{
    uint64_t x;
    if (!take_number(m, bytes, &x))
        return false;
    int64_t number = with_sign && bytes && bytes < 8 && x >> (8 * bytes - 1)
                         ? (int64_t)(x - (1ull << 8 * bytes))
                         : (int64_t)x;
    return push_new(m, (pickle_value){ P_INT, .number = number });
}

static bool push_long(machine *m)
{
    uint64_t n;
    if (!take_number(m, 1, &n))
        return false;
    return n <= 8 ? push_int(m, (int)n, true) : bad(m, "has a whole number of more than 64 bits");
}

static bool push_global(machine *m, const char *module, long module_size, const char *name, long name_size)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if ((long)strlen(known[i].module) == module_size
            && !memcmp(known[i].module, module, (size_t)module_size)
            && (long)strlen(known[i].name) == name_size && !memcmp(known[i].name, name, (size_t)name_size))
            return push_new(m, (pickle_value){ P_GLOBAL, .number = known[i].is });
    char text[200];
    size_t used = 0;
    for (long k = 0; k < module_size && used < 90; k++)
        text[used++] = module[k];
    text[used++] = '.';
    for (long k = 0; k < name_size && used < 190; k++)
        text[used++] = name[k];
    text[used] = 0;
    return error_set(m->e,
                     "%s: data.pkl: names %s, which is not of the known classes; nothing in a pickle is run. "
                     "Expected tensors, numbers, texts, lists and dictionaries",
                     QUOTE(m->path), QUOTE(text));
}

static bool read_global(machine *m)
{
    const char *line[2];
    long size[2];
    for (int i = 0; i < 2; i++) {
        const unsigned char *stop = memchr(m->at, '\n', (size_t)(m->end - m->at));
        if (!stop)
            return bad(m, "ends in the middle");
        line[i] = (const char *)m->at;
        size[i] = stop - m->at;
        m->at = stop + 1;
    }
    return push_global(m, line[0], size[0], line[1], size[1]);
}

static bool stack_global(machine *m)
{
    int32_t name, module;
    if (!pop(m, &name) || !pop(m, &module))
        return false;
    const pickle_value *n = pickle_at(m->p, name), *o = pickle_at(m->p, module);
    if (n->kind != P_TEXT || o->kind != P_TEXT)
        return bad(m, "names a class by what is no text");
    return push_global(m, o->text, o->size, n->text, n->size);
}

/* ---- putting together ------------------------------------------------------------------------------ */
/* The last n on the stack become one value. */
static bool gather(machine *m, pickle_kind kind, long n)
{
    if (n > m->depth)
        return bad(m, "takes from an empty stack");
    int32_t made = value(m, (pickle_value){ .kind = kind });
    for (long i = m->depth - n; made != NO_VALUE && i < m->depth; i++) {
        if (pickle_at(m->p, m->stack[i])->kind == P_MARK)
            return bad(m, "takes from an empty stack");
        if (!add_item(m, made, m->stack[i]))
            return false;
    }
    m->depth -= n;
    return push(m, made);
}

static bool tuple_to_mark(machine *m)
{
    long mark = find_mark(m);
    if (mark < 0 || !gather(m, P_TUPLE, m->depth - mark - 1))
        return false;
    m->stack[m->depth - 2] = m->stack[m->depth - 1];
    m->depth--;
    return true;
}

/* What stands from `first` on goes into the value below it; of a dict keys and values by turns. */
static bool fill(machine *m, pickle_kind kind, long first, long below)
{
    if (below < 0 || first > m->depth)
        return bad(m, "takes from an empty stack");
    int32_t to = m->stack[below];
    if (pickle_at(m->p, to)->kind != kind)
        return bad(m,
                   kind == P_DICT ? "sets an entry of what is no dictionary" : "appends to what is no list");
    if (kind == P_DICT && (m->depth - first) % 2)
        return bad(m, "sets an entry without a value");
    for (long i = first; i < m->depth; i++)
        if (pickle_at(m->p, m->stack[i])->kind == P_MARK)
            return bad(m, "has a mark among its values");
        else if (!add_item(m, to, m->stack[i]))
            return false;
    m->depth = below + 1;
    return true;
}

static bool fill_to_mark(machine *m, pickle_kind kind)
{
    long mark = find_mark(m);
    return mark >= 0 && fill(m, kind, mark + 1, mark - 1);
}

/* torch's own persistent ids: ("storage", class, key, place, elements) */
static bool persistent(machine *m)
{
    int32_t id;
    if (!pop(m, &id))
        return false;
    pickle_value v = *pickle_at(m->p, id);
    const pickle_value *what = pickle_item(m->p, &v, 0), *type = pickle_item(m->p, &v, 1);
    if (v.kind != P_TUPLE || v.count < 5 || !pickle_is_text(what, "storage") || type->kind != P_GLOBAL
        || type->number >= PICKLE_STORAGES || pickle_item(m->p, &v, 2)->kind != P_TEXT
        || pickle_item(m->p, &v, 4)->kind != P_INT)
        return bad(m, "has a persistent id that is no storage");
    int32_t made = value(m, (pickle_value){ .kind = P_STORAGE });
    for (long i = 0; made != NO_VALUE && i < v.count; i++)
        if (!add_item(m, made, v.items[i]))
            return false;
    return push(m, made);
}

static bool reduce(machine *m)
{
    int32_t args, what;
    if (!pop(m, &args) || !pop(m, &what))
        return false;
    pickle_value a = *pickle_at(m->p, args);
    const pickle_value *f = pickle_at(m->p, what);
    if (f->kind != P_GLOBAL || a.kind != P_TUPLE)
        return bad(m, "calls what is no known class");
    if (f->number == PICKLE_ORDERED_DICT && !a.count)
        return push_new(m, (pickle_value){ .kind = P_DICT });
    if (f->number == PICKLE_PARAMETER && a.count >= 1 && pickle_item(m->p, &a, 0)->kind == P_TENSOR)
        return push(m, a.items[0]);
    if (f->number == PICKLE_TENSOR && a.count >= 4) {
        int32_t made = value(m, (pickle_value){ .kind = P_TENSOR });
        for (long i = 0; made != NO_VALUE && i < 4; i++)   /* storage, offset, size, stride */
            if (!add_item(m, made, a.items[i]))
                return false;
        return push(m, made);
    }
    return bad(m, "makes a value from arguments that it cannot have");
}

/* State set on an ordered dictionary (torch's _metadata) is of no use here. */
static bool build(machine *m)
{
    int32_t state;
    const pickle_value *v = pop(m, &state) ? top(m) : NULL;
    return v && (v->kind == P_DICT || bad(m, "sets the state of what is no dictionary"));
}

/* ---- memo ------------------------------------------------------------------------------------------ */
static bool put_memo(machine *m, uint64_t slot)
{
    if (slot >= MOST_MEMO)
        return bad(m, "uses a memo slot beyond 1,048,576");
    if (!top(m))
        return false;
    if ((long)slot >= m->memo_room) {
        long room = 2 * (long)slot + 64;
        int32_t *more = mem_grow(m->memo, (size_t)m->memo_room * sizeof *more, (size_t)room * sizeof *more);
        if (!more)
            return no_memory(m);
        m->memo = more;
        m->memo_room = room;
    }
    m->memo[slot] = m->stack[m->depth - 1] + 1;            /* 0: empty */
    m->memo_next = (long)slot >= m->memo_next ? (long)slot + 1 : m->memo_next;
    return true;
}

static bool memo(machine *m, int bytes, bool put)
{
    uint64_t slot;
    if (!take_number(m, bytes, &slot))
        return false;
    if (put)
        return put_memo(m, slot);
    if ((long)slot >= m->memo_room || !m->memo[slot])
        return bad(m, "reads a memo slot that is empty");
    return push(m, m->memo[slot] - 1);
}

/* ---- the machine ----------------------------------------------------------------------------------- */
static bool pop_mark(machine *m)
{
    long mark = find_mark(m);
    if (mark >= 0)
        m->depth = mark;
    return mark >= 0;
}

static bool unknown(const machine *m, int code)
{
    return error_set(m->e, "%s: data.pkl: opcode 0x%02x, which torch.save does not write", QUOTE(m->path),
                     code);
}

static bool protocol(machine *m)
{
    uint64_t version;
    return take_number(m, 1, &version) && (version <= 5 || bad(m, "is of a protocol above 5"));
}

static bool step(machine *m, int code)
{
    int32_t ignored;
    switch (code) {
    case 0x80: return protocol(m);
    case 0x95: return take(m, 8) != NULL;                                  /* FRAME: its length */
    case '(': return push_new(m, (pickle_value){ .kind = P_MARK });
    case '0': return pop(m, &ignored);
    case '1': return pop_mark(m);
    case 'N': return push_new(m, (pickle_value){ .kind = P_NONE });
    case 0x88: case 0x89: return push_new(m, (pickle_value){ P_BOOL, .number = code == 0x88 });
    case 'J': return push_int(m, 4, true);
    case 'K': return push_int(m, 1, false);
    case 'M': return push_int(m, 2, false);
    case 0x8a: return push_long(m);
    case 'G': return take(m, 8) && push_new(m, (pickle_value){ .kind = P_REAL });
    case 'X': return push_text(m, 4);
    case 0x8c: return push_text(m, 1);
    case 0x8d: return push_text(m, 8);
    case '}': return push_new(m, (pickle_value){ .kind = P_DICT });
    case ']': return push_new(m, (pickle_value){ .kind = P_LIST });
    case ')': return push_new(m, (pickle_value){ .kind = P_TUPLE });
    case 't': return tuple_to_mark(m);
    case 0x85: case 0x86: case 0x87: return gather(m, P_TUPLE, code - 0x84);
    case 'a': return fill(m, P_LIST, m->depth - 1, m->depth - 2);
    case 'e': return fill_to_mark(m, P_LIST);
    case 's': return fill(m, P_DICT, m->depth - 2, m->depth - 3);
    case 'u': return fill_to_mark(m, P_DICT);
    case 'c': return read_global(m);
    case 0x93: return stack_global(m);
    case 'R': return reduce(m);
    case 'b': return build(m);
    case 'Q': return persistent(m);
    case 'q': return memo(m, 1, true);
    case 'r': return memo(m, 4, true);
    case 0x94: return put_memo(m, (uint64_t)m->memo_next);
    case 'h': return memo(m, 1, false);
    case 'j': return memo(m, 4, false);
    default: return unknown(m, code);
    }
}

bool pickle_read(pickle *p, const char *text, long size, const char *path, error *e)
{
    machine m = { .p = p, .at = (const unsigned char *)text, .end = (const unsigned char *)text + size,
                  .path = path, .e = e };
    bool ok = true, stopped = false;
    *p = (pickle){ .root = NO_VALUE };
    while (ok && !stopped) {
        const unsigned char *code = take(&m, 1);
        stopped = code && *code == '.';
        ok = code && (stopped ? pop(&m, &p->root) : step(&m, *code));
    }
    mem_free(m.stack);
    mem_free(m.memo);
    if (!ok)
        pickle_free(p);
    return ok;
}

void pickle_free(pickle *p)
{
    for (long i = 0; i < p->count; i++)
        mem_free(p->values[i].items);
    mem_free(p->values);
    *p = (pickle){ .root = NO_VALUE };
}

const pickle_value *pickle_at(const pickle *p, int32_t i) { return &p->values[i]; }

const pickle_value *pickle_item(const pickle *p, const pickle_value *v, long i)
{
    return i < v->count ? &p->values[v->items[i]] : NULL;
}

bool pickle_is_text(const pickle_value *v, const char *text)
{
    return v && v->kind == P_TEXT && v->size == (long)strlen(text) && !memcmp(v->text, text, (size_t)v->size);
}

const pickle_value *pickle_get(const pickle *p, const pickle_value *dict, const char *key)
{
    for (long i = dict->count - 2; dict->kind == P_DICT && i >= 0; i -= 2)         /* the last one counts */
        if (pickle_is_text(pickle_item(p, dict, i), key))
            return pickle_item(p, dict, i + 1);
    return NULL;
}
