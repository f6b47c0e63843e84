# Flattens metrics.json of `blip2 evaluate` (a key a line, indented by one space a level): `retrieval.itc.txt_r1 97.5`.
# Usage: awk -f tools/figures.awk [-v only=REGEX] metrics.json
{
    match($0, /^ */)
    depth = RLENGTH
    if (!match($0, /"[^"]*": /))
        next
    key[depth] = substr($0, RSTART + 1, RLENGTH - 4)
    value = substr($0, RSTART + RLENGTH)
    sub(/,$/, "", value)
    if (value !~ /^-?[0-9]/)
        next
    name = key[1]
    for (d = 2; d <= depth; d++)
        name = name "." key[d]
    if (only == "" || name ~ only)
        print name, value
}
