/* scenes_case.c - a synthetic world of some hundred pictures (scenes_case.h). */
#include "tests/scenes_case.h"

scenes_options small_world(void)
{
    scenes_options o = scenes_defaults;
    o.train = 600;
    o.val = 40;
    o.test = 60;
    o.test_unseen = 60;
    o.documents = 600;
    return o;
}

void make_world(const scenes_options *o, const char *name)
{
    error e = { 0 };
    ck_assert_msg(scenes_make(o, IN_FOLDER(name), false, NULL, NULL, &e), "%s", e.text);
}
