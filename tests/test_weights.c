/* test_weights.c - safetensors and torch archives made byte by byte: what is right comes out in logical
 * order, what is not is refused with its reason. More files, made by the formats' own writers: `make
 * golden`. */
#include "convert/weights.h"
#include "tests/tests.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static error e;
typedef struct bytes { unsigned char at[1 << 16]; long n; } bytes;

static void put(bytes *b, const void *from, long n)
{
    ck_assert(b->n + n <= (long)sizeof b->at);
    memcpy(b->at + b->n, from, (size_t)n);
    b->n += n;
}

static void put_text(bytes *b, const char *text) { put(b, text, (long)strlen(text)); }

static void put_number(bytes *b, uint64_t x, int width)
{
    for (int i = 0; i < width; i++)
        put(b, &(unsigned char){ (unsigned char)(i < 8 ? x >> 8 * i : 0) }, 1);
}

static const char *file_of(const bytes *b, const char *name)
{
    static char path[512];
    FILE *f = fopen(folder_path(path, name), "wb");
    ck_assert(f && fwrite(b->at, 1, (size_t)b->n, f) == (size_t)b->n && !fclose(f));
    return path;
}

static void refused(const char *path, const char *says)
{
    weights *w = weights_open(path, &e);
    ck_assert_msg(!w, "taken, expected \"%s\"", says);
    ck_assert_msg(strstr(e.text, says) != NULL, "expected \"%s\", found \"%s\"", says, e.text);
    ck_assert_msg(!strchr(e.text, '\n') || strstr(e.text, "\n  "), "%s", e.text);
}

static weights *taken(const char *path)
{
    weights *w = weights_open(path, &e);
    ck_assert_msg(w != NULL, "%s", e.text);
    return w;
}

/* ---- safetensors ----------------------------------------------------------------------------------- */
static const char *safetensors(const char *name, const char *header, long floats)
{
    static bytes b;
    b.n = 0;
    put_number(&b, strlen(header), 8);
    put_text(&b, header);
    for (long i = 0; i < floats; i++)
        put(&b, &(float){ (float)i / 4 - 1 }, 4);
    return file_of(&b, name);
}

#define W23 "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"

START_TEST(tensors_are_found_by_name_and_read)
{
    weights *w = taken(safetensors("a.safetensors", "{\"__metadata__\":{\"format\":\"pt\"}," W23
        ",\"a.b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[24,28]},"
        "\"none\":{\"dtype\":\"F16\",\"shape\":[0,3],\"data_offsets\":[28,28]}}  ", 7));
    const weights_entry *x = weights_find(w, "w");
    real to[6];
    ck_assert(weights_count(w) == 3 && x && x->ndim == 2 && x->dim[1] == 3 && x->size == 6);
    ck_assert(weights_read_reals(w, x, to, &e) && to[0] == -1 && to[5] == (real)0.25);
    ck_assert(weights_read_reals(w, weights_find(w, "a.b"), to, &e) && to[0] == (real)0.5);
    ck_assert(weights_find(w, "none")->size == 0 && !weights_find(w, "a"));
    int64_t whole[6];
    ck_assert(!weights_read_longs(w, x, whole, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "expected whole numbers, found float32"));
    weights_close(w);
}
END_TEST

START_TEST(half_and_bfloat_are_widened_exactly)
{
    static const uint16_t halves[] = { 0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x7c00, 0x3555 };
    static const double expected[] = { 1, -2, 0x1p-24, 65504, 0, INFINITY, 0.333251953125 };
    bytes b = { .n = 0 };
    const char *header = "{\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[14,18]},"
                         "\"h\":{\"dtype\":\"F16\",\"shape\":[7],\"data_offsets\":[0,14]}}";
    put_number(&b, strlen(header), 8);
    put_text(&b, header);
    put(&b, halves, sizeof halves);
    put(&b, (uint16_t[]){ 0x3f80, 0xc049 }, 4);
    weights *w = taken(file_of(&b, "h.safetensors"));
    double to[7];
    ck_assert(weights_read_doubles(w, weights_find(w, "h"), to, &e));
    for (int i = 0; i < 7; i++)
        ck_assert_msg(to[i] == expected[i], "%d: %g", i, to[i]);
    ck_assert(weights_read_doubles(w, weights_find(w, "b"), to, &e) && to[0] == 1 && to[1] == -3.140625);
    weights_close(w);
}
END_TEST

START_TEST(safetensors_that_are_not_whole_are_refused)
{
    static const struct { const char *header; long floats; const char *says;
    } all[] = { { "{" W23 "}", 5, "within the 20 bytes" },
                { "{" W23 "}", 7, "4 bytes behind the last tensor" },
                { "{" W23 ",\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}", 6,
                  "v: data from byte 16 on" },
                { "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 3, "expected 0" },
                { "{\"w\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 2,
                  "dtype: unknown or unsupported" },
                { "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 1, "do not fit" },
                { "{\"w\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 2, "shape: expected" },
                { "{\"w\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 2,
                  "shape: expected" },
                { "{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
                  "do not fit" },
                { "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 2, "data_offsets" },
                { "{\"w\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 2, "dtype: expected a text" },
                { "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__: expected texts" },
                { "{" W23 "," W23 "}", 6, "JSON" },
                { "{" W23, 6, "JSON" },
                { "[1]     ", 0, "neither safetensors" } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        refused(safetensors("bad.safetensors", all[i].header, all[i].floats), all[i].says);
    bytes b = { .n = 0 };
    put_number(&b, UINT64_MAX - 7, 8);
    put_text(&b, "{}");
    refused(file_of(&b, "long.safetensors"), "its header is said to have");
    b.n = 0;
    refused(file_of(&b, "empty.safetensors"), "neither safetensors");
}
END_TEST

START_TEST(shards_are_one_set_of_tensors)
{
    bytes b = { .n = 0 };
    safetensors("one.safetensors", "{" W23 "}", 6);
    safetensors("two.safetensors", "{\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 2);
    put_text(&b, "{\"weight_map\": {\"v\": \"two.safetensors\", \"w\": \"one.safetensors\"}}");
    weights *w = taken(file_of(&b, "m.safetensors.index.json"));
    ck_assert(weights_count(w) == 2 && weights_find(w, "v") && weights_find(w, "w"));
    weights_close(w);
    static const char *const bad[][2] = {
        { "{\"weight_map\": {\"v\": \"one.safetensors\"}}", "v: is not in one.safetensors" },
        { "{\"weight_map\": {\"v\": \"../two.safetensors\"}}",
          "expected the name of a file in the same folder" },
        { "{\"weight_map\": {\"v\": 1}}", "expected the name of a file" },
        { "{\"weight_map\": {\"v\": \"three.safetensors\"}}", "three.safetensors: cannot be opened" },
        { "{\"weight_map\": {}}", "weight_map: expected file names" }
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b.n = 0;
        put_text(&b, bad[i][0]);
        refused(file_of(&b, "m.safetensors.index.json"), bad[i][1]);
    }
}
END_TEST

/* ---- torch: a zip with a pickle -------------------------------------------------------------------- */
typedef struct archive { bytes b; struct { char name[40]; long at, size; } entry[8]; int count; } archive;

static void zip_add(archive *z, const char *name, const void *data, long size)
{
    z->entry[z->count].at = z->b.n;
    z->entry[z->count].size = size;
    strcpy(z->entry[z->count++].name, name);
    put(&z->b, "PK\3\4", 4);
    for (int i = 0; i < 22; i++)
        put_number(&z->b, 0, 1);
    put_number(&z->b, strlen(name), 2);
    put_number(&z->b, 0, 2);
    put_text(&z->b, name);
    put(&z->b, data, size);
}

static void zip_end(archive *z)
{
    long from = z->b.n;
    for (int i = 0; i < z->count; i++) {
        put(&z->b, "PK\1\2", 4);
        put_number(&z->b, 0, 8);                           /* versions, flags, method: stored */
        put_number(&z->b, 0, 8);                           /* time, date, checksum */
        put_number(&z->b, (uint64_t)z->entry[i].size, 4);
        put_number(&z->b, (uint64_t)z->entry[i].size, 4);
        put_number(&z->b, strlen(z->entry[i].name), 2);
        put_number(&z->b, 0, 12);
        put_number(&z->b, (uint64_t)z->entry[i].at, 4);
        put_text(&z->b, z->entry[i].name);
    }
    long size = z->b.n - from;
    put(&z->b, "PK\5\6", 4);
    put_number(&z->b, 0, 4);
    put_number(&z->b, (uint64_t)z->count, 2);
    put_number(&z->b, (uint64_t)z->count, 2);
    put_number(&z->b, (uint64_t)size, 4);
    put_number(&z->b, (uint64_t)from, 4);
    put_number(&z->b, 0, 2);
}

#define TEXT(s) "X" s                              /* BINUNICODE; s begins with its length in 4 bytes */
#define STORAGE \
    "(" TEXT("\7\0\0\0storage") "ctorch\nFloatStorage\n" TEXT("\1\0\0\0" "0") TEXT("\3\0\0\0cpu") "K\6tQ"
#define TENSOR(offset, size, stride) "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE "K" offset size stride \
    "\x89" "ccollections\nOrderedDict\n)RtR"
#define PICKLE(body) { "\x80\2" body ".", sizeof "\x80\2" body "." - 1 }
#define ONE(tensor) PICKLE("}(" TEXT("\1\0\0\0w") tensor "u")
typedef struct pickled { const char *text; long size; } pickled;

static const char *torch(const pickled *p, long floats)
{
    static archive z;
    float data[8];
    for (int i = 0; i < 8; i++)
        data[i] = (float)i + 1;
    z.b.n = z.count = 0;
    zip_add(&z, "m/data.pkl", p->text, p->size);
    zip_add(&z, "m/byteorder", "little", 6);
    zip_add(&z, "m/data/0", data, 4 * floats);
    zip_end(&z);
    return file_of(&z.b, "m.pth");
}

START_TEST(views_of_a_storage_come_out_in_logical_order)
{
    static const struct { pickled p; int ndim; long n; real expected[6];
    } all[] = {
        { ONE(TENSOR("\0", "(K\2K\3t", "(K\3K\1t")), 2, 6, { 1, 2, 3, 4, 5, 6 } },
        { ONE(TENSOR("\0", "(K\3K\2t", "(K\1K\3t")), 2, 6, { 1, 4, 2, 5, 3, 6 } }, /* transposed */
        { ONE(TENSOR("\2", "(K\2t", "(K\3t")), 1, 2, { 3, 6 } }, /* every third from 2 on */
        { ONE(TENSOR("\5", "(K\3t", "(K\0t")), 1, 3, { 6, 6, 6 } }, /* expanded */
        { ONE(TENSOR("\1", ")", ")")), 0, 1, { 2 } },
        { ONE("ctorch._utils\n_rebuild_parameter\n(" TENSOR("\0", "(K\1t", "(K\1t") "\x88}tR"), 1, 1, { 1 } },
        { PICKLE("}(" TEXT("\5\0\0\0epoch") "K\7" TEXT("\5\0\0\0model") "}(" TEXT("\1\0\0\0w")
                     TENSOR("\0", "(K\1t", "(K\1t") "uu"),
          1,
          1,
          { 1 } }
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        weights *w = taken(torch(&all[i].p, 6));
        const weights_entry *x = weights_find(w, "w");
        real to[6];
        ck_assert_msg(weights_count(w) == 1 && x && x->ndim == all[i].ndim && x->size == all[i].n, "%zu", i);
        ck_assert(weights_read_reals(w, x, to, &e));
        for (long k = 0; k < all[i].n; k++)
            ck_assert_msg(to[k] == all[i].expected[k], "%zu: %ld: %g", i, k, (double)to[k]);
        weights_close(w);
    }
}
END_TEST

START_TEST(a_pickle_that_would_run_code_or_is_broken_is_refused)
{
    static const struct { pickled p; const char *says;
    } all[] = { { PICKLE("cos\nsystem\n(" TEXT("\4\0\0\0true") "tR0}"), "names os.system" },
                { PICKLE(TEXT("\2\0\0\0os") TEXT("\6\0\0\0system") "\x93"), "names os.system" },
                { PICKLE("(" TEXT("\4\0\0\0true") "ios\nsystem\n"), "opcode 0x69" },
                { PICKLE("R"), "takes from an empty stack" },
                { PICKLE(""), "takes from an empty stack" },
                { PICKLE("}u"), "no mark" },
                { PICKLE("h\7"), "memo slot that is empty" },
                { PICKLE("](" TEXT("\1\0\0\0a") "K\1u"), "sets an entry of what is no dictionary" },
                { PICKLE(")K\1a"), "appends to what is no list" },
                { PICKLE("X\xff\xff\xff\xff"), "ends in the middle" },
                { PICKLE("}r\xff\xff\xff\xff"), "memo slot beyond" },
                { PICKLE("K\7"), "no tensors" },
                { PICKLE("}(K\1u"), "without a value" },
                { PICKLE("}}R"), "calls what is no known class" } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        refused(torch(&all[i].p, 6), all[i].says);
}
END_TEST

START_TEST(tensors_beyond_their_storage_are_refused)
{
    static const struct { pickled p; long floats; const char *says; } all[] = {
        { ONE(TENSOR("\0", "(K\2K\4t", "(K\4K\1t")), 6, "reaches beyond the 6 elements" },
        { ONE(TENSOR("\6", "(K\1t", "(K\1t")), 6, "reaches beyond" },
        { ONE(TENSOR("\0", "(K\2t", "(J\xff\xff\xff\xfft")), 6, "size and stride" },
        { ONE(TENSOR("\0", "(K\2K\3t", "(K\1t")), 6, "size and stride" },
        { ONE(TENSOR("\0", "(K\2t", "(\x8a\x08\0\0\0\0\0\0\0\x7ft")), 6, "reaches beyond" },
        { ONE(TENSOR("\0", "(\x8a\6\0\0\0\0\0\1t", "(K\0t")), 6, "elements out of a storage" },
        { ONE(TENSOR("\0", "(K\6t", "(K\1t")), 5, "the archive has 20 bytes of it" } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        refused(torch(&all[i].p, all[i].floats), all[i].says);
}
END_TEST

START_TEST(an_archive_cut_anywhere_is_refused)
{
    static const pickled p = ONE(TENSOR("\0", "(K\6t", "(K\1t"));
    bytes b = { .n = 0 };
    FILE *f = fopen(torch(&p, 6), "rb");
    b.n = (long)fread(b.at, 1, sizeof b.at, f);
    fclose(f);
    long whole = b.n;
    for (b.n = 0; b.n < whole; b.n++) {
        weights *w = weights_open(file_of(&b, "cut.pth"), &e);
        ck_assert_msg(!w, "%ld of %ld bytes", b.n, whole);
    }
    weights_close(taken(file_of(&b, "cut.pth")));
}
END_TEST

START_TEST(old_torch_files_and_packed_ones_are_told_apart)
{
    bytes b = { .n = 0 };
    put(&b, "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.......", 21);
    refused(file_of(&b, "old.pth"), "written by torch before 1.6");
    static const pickled p = ONE(TENSOR("\0", "(K\6t", "(K\1t"));
    FILE *f = fopen(torch(&p, 6), "r+b");
    b.n = (long)fread(b.at, 1, sizeof b.at, f);
    fclose(f);
    for (long i = 0; i + 10 < b.n; i++)
        if (!memcmp(b.at + i, "PK\1\2", 4))
            b.at[i + 10] = 8;                              /* deflated */
    refused(file_of(&b, "packed.pth"), "packed or encrypted");
}
END_TEST

/* What would be cut to another name. */
START_TEST(names_with_a_zero_byte_and_endless_ones_are_refused)
{
    static char body[2048];
    static const pickled key = ONE("ctorch._utils\n_rebuild_tensor_v2\n((" TEXT("\7\0\0\0storage")
                                   "ctorch\nFloatStorage\n" TEXT("\3\0\0\0" "0\0x") TEXT("\3\0\0\0cpu")
                                   "K\6tQK\0(K\2t(K\1t\x89" "ccollections\nOrderedDict\n)RtR"),
                         name = PICKLE("}(" TEXT("\3\0\0\0w\0x") TENSOR("\0", "(K\1t", "(K\1t") "u");
    refused(torch(&key, 6), "w: its storage is not in the archive");
    refused(torch(&name, 6), "the name of a tensor: expected less than 512 bytes and no zero byte");
    static const char rest[] = TENSOR("\0", "(K\1t", "(K\1t") "u.", first[] = "\x80\2}(X\0\4\0\0";
    long n = sizeof first - 1;
    memcpy(body, first, (size_t)n);
    memset(body + n, 'w', 1024);
    memcpy(body + n + 1024, rest, sizeof rest - 1);
    refused(torch(&(pickled){ body, n + 1024 + (long)sizeof rest - 1 }, 6),
            "no zero byte among them, found 1024");
    static const pickled good = ONE(TENSOR("\0", "(K\6t", "(K\1t"));
    bytes b = { .n = 0 };
    FILE *f = fopen(torch(&good, 6), "rb");
    b.n = (long)fread(b.at, 1, sizeof b.at, f);
    fclose(f);
    for (long i = 0; i + 11 < b.n; i++)
        if (!memcmp(b.at + i, "m/byteorder", 11))
            b.at[i + 6] = 0;
    refused(file_of(&b, "zero.pth"), "a name in its directory has a zero byte");
}
END_TEST

/* Each would take a hundred bytes of memory before its form is looked at. */
START_TEST(a_header_of_too_many_values_is_refused_unread)
{
    enum { VALUES = 300 * 1000 };
    char *header = mem_new(3 * VALUES + 16);
    strcpy(header, "{\"a\":[");
    for (long i = 0, at = 6; i < VALUES; i++, at += 3)
        memcpy(header + at, "[],", 3);
    strcpy(header + 6 + 3 * VALUES - 1, "]}");
    uint64_t n = strlen(header);
    FILE *f = fopen(IN_FOLDER("many.safetensors"), "wb");
    ck_assert(f && fwrite(&n, 8, 1, f) && fputs(header, f) >= 0 && !fclose(f));
    refused(IN_FOLDER("many.safetensors"), "too many values; expected at most 250000");
    f = fopen(IN_FOLDER("many.safetensors.index.json"), "wb");
    ck_assert(f && fputs(header, f) >= 0 && !fclose(f));
    refused(IN_FOLDER("many.safetensors.index.json"), "too many values; expected at most 250000");
    mem_free(header);
}
END_TEST

Suite *suite_weights(void)
{
    Suite *s = suite_create("weights");
    TCase *c = tcase_create("files");
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_test(c, tensors_are_found_by_name_and_read);
    tcase_add_test(c, half_and_bfloat_are_widened_exactly);
    tcase_add_test(c, safetensors_that_are_not_whole_are_refused);
    tcase_add_test(c, shards_are_one_set_of_tensors);
    tcase_add_test(c, views_of_a_storage_come_out_in_logical_order);
    tcase_add_test(c, a_pickle_that_would_run_code_or_is_broken_is_refused);
    tcase_add_test(c, tensors_beyond_their_storage_are_refused);
    tcase_add_test(c, an_archive_cut_anywhere_is_refused);
    tcase_add_test(c, old_torch_files_and_packed_ones_are_told_apart);
    tcase_add_test(c, names_with_a_zero_byte_and_endless_ones_are_refused);
    tcase_add_test(c, a_header_of_too_many_values_is_refused_unread);
    suite_add_tcase(s, c);
    return s;
}
