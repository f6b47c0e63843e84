# Lines `GROUP SEED FIGURE VALUE`: the mean of each figure over the seeds of each group with its 95 % t-interval, and, with two groups, the mean
# of the differences first minus second at equal seeds with theirs: those say whether a sign shows.
# Student's t, two-sided 95 %, at 1, 2, ... degrees of freedom.
BEGIN { split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228", quantile, " ") }

function seen(list, what)
{
    if (!((list, what) in known)) {
        known[list, what] = 1
        names[list, ++count[list]] = what
    }
}

# mean and half width of n numbers of `x`
function describe(n,    i, sum, squares, mean, half)
{
    for (i = 1; i <= n; i++)
        sum += x[i]
    mean = sum / n
    for (i = 1; i <= n; i++)
        squares += (x[i] - mean) ^ 2
    half = n > 1 && n - 1 <= 10 ? quantile[n - 1] * sqrt(squares / (n - 1) / n) : 0
    return n > 1 && n - 1 <= 10 ? sprintf("%8.3f +- %.3f", mean, half) : sprintf("%8.3f          ", mean)
}

{
    seen("group", $1)
    seen("seed", $2)
    seen("figure", $3)
    value[$1, $2, $3] = $4
}

END {
    two = count["group"] == 2
    printf "%-28s", "mean +- 95 % t-interval"
    for (g = 1; g <= count["group"]; g++)
        printf "  %-18s", names["group", g]
    print two ? "  difference" : ""
    for (f = 1; f <= count["figure"]; f++) {
        figure = names["figure", f]
        printf "%-28s", figure
        for (g = 1; g <= count["group"]; g++) {
            n = 0
            for (s = 1; s <= count["seed"]; s++)
                if ((names["group", g], names["seed", s], figure) in value)
                    x[++n] = value[names["group", g], names["seed", s], figure]
            printf "  %-18s", n ? describe(n) : "-"
        }
        n = 0
        for (s = 1; two && s <= count["seed"]; s++) {
            a = names["group", 1] SUBSEP names["seed", s] SUBSEP figure
            b = names["group", 2] SUBSEP names["seed", s] SUBSEP figure
            if (a in value && b in value)
                x[++n] = value[a] - value[b]
        }
        print n ? "  " describe(n) : ""
    }
}
