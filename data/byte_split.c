/* byte_split.c - GPT-2's way to cut text into pieces, and its alphabet of bytes (Radford et al. 2019).
 *
 * Pieces: 's 't 're 've 'm 'll 'd; letters, numbers, others, each with one space in front; white space.
 * Classes are spelled out where PCRE2's differ from the reference's, which knows Unicode 16: U+180E is no
 * white space, and letters and numbers are added that a PCRE2 of Unicode 14 does not know. Any PCRE2 since
 * gives the same pieces. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/internal.h"
#include <pcre2.h>

#define LETTER "\\p{L}\\x{1C89}\\x{1C8A}\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{105C0}-\\x{105F3}" \
    "\\x{10D4A}-\\x{10D65}\\x{10D6F}-\\x{10D85}\\x{10EC2}-\\x{10EC4}\\x{1123F}\\x{11240}" \
    "\\x{11380}-\\x{11389}\\x{1138B}\\x{1138E}\\x{11390}-\\x{113B5}\\x{113B7}\\x{113D1}\\x{113D3}" \
    "\\x{11BC0}-\\x{11BE0}\\x{11F02}\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{11F33}\\x{1342F}" \
    "\\x{13441}-\\x{13446}\\x{13460}-\\x{143FA}\\x{16100}-\\x{1611D}\\x{16D40}-\\x{16D6C}\\x{18CFF}" \
    "\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}" \
    "\\x{1E5D0}-\\x{1E5ED}\\x{1E5F0}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}"
#define NUMBER "\\p{N}\\x{10D40}-\\x{10D49}\\x{116D0}-\\x{116E3}\\x{11BF0}-\\x{11BF9}\\x{11F50}-\\x{11F59}" \
    "\\x{16130}-\\x{16139}\\x{16D70}-\\x{16D79}\\x{1CCF0}-\\x{1CCF9}\\x{1D2C0}-\\x{1D2D3}" \
    "\\x{1E4F0}-\\x{1E4F9}\\x{1E5F1}-\\x{1E5FA}"
#define WHITE "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}" \
    "\\x{205F}\\x{3000}"
static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?[" LETTER "]+| ?[" NUMBER "]+"
                              "| ?[^" WHITE LETTER NUMBER "]+|[" WHITE "]+(?![^" WHITE "])|[" WHITE "]+";

struct byte_splitter { pcre2_general_context *memory; pcre2_code *code; };

static void *take(PCRE2_SIZE bytes, void *unused)
{
    (void)unused;
    return mem_new(bytes);
}

static void give(void *p, void *unused)
{
    (void)unused;
    mem_free(p);
}

byte_splitter *byte_splitter_new(void)
{
    int number;
    PCRE2_SIZE where;
    byte_splitter *s = mem_new(sizeof *s);
    pcre2_compile_context *context = NULL;
    if (s)
        s->memory = pcre2_general_context_create(take, give, NULL);
    if (s && s->memory)
        context = pcre2_compile_context_create(s->memory);
    if (context)
        s->code = pcre2_compile((PCRE2_SPTR)pattern, sizeof pattern - 1, PCRE2_UTF | PCRE2_UCP, &number,
                                &where, context);
    pcre2_compile_context_free(context);
    if (s && s->code)
        return s;
    byte_splitter_free(s);
    return NULL;
}

void byte_splitter_free(byte_splitter *s)
{
    if (!s)
        return;
    pcre2_code_free(s->code);
    pcre2_general_context_free(s->memory);
    mem_free(s);
}

bool byte_bpe_pieces(const byte_splitter *s, const char *text, long n, text_visitor visit, void *context)
{
    pcre2_match_data *found = pcre2_match_data_create(1, s->memory);
    bool ok = found;
    for (long at = 0; ok && at < n; ) {
        ok = pcre2_match(s->code, (PCRE2_SPTR)text, (PCRE2_SIZE)n, (PCRE2_SIZE)at,
                         PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, found, NULL) > 0;
        long end = ok ? (long)pcre2_get_ovector_pointer(found)[1] : at;
        ok = ok && visit(context, text + at, end - at);
        at = end;
    }
    pcre2_match_data_free(found);
    return ok;
}

/* Bytes 33-126, 161-172 and 174-255 stand for themselves, the other 68 for U+0100 and on, in order. */
int byte_character(int byte)
{
    if (byte < 33)
        return 256 + byte;
    if (byte >= 127 && byte < 161)
        return 289 + byte - 127;
    return byte == 173 ? 323 : byte;
}

int byte_of_character(int c)
{
    if (c < 256)
        return c >= 0 && byte_character(c) == c ? c : -1;
    return c < 289 ? c - 256 : c < 323 ? c - 289 + 127 : c == 323 ? 173 : -1;
}
