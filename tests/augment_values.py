"""The table of tests/test_augment.c: digests of the reference's augmented pictures.
Run as: python3 augment_values.py LAVIS/lavis/processors/randaugment.py, with opencv-python-headless 4.5.5.
What the reference slips in is set right first: the unsigned minus of AutoContrast, Sharpness's wrap-around."""
import importlib.util, sys, types
import numpy as np

sys.modules["torch"] = types.ModuleType("torch")          # imported there, not needed here
text = open(sys.argv[1]).read().replace("offset = -low * scale", "offset = -float(low) * scale")
text = text.replace("out = out.astype(np.uint8)", "out = out.clip(0, 255).astype(np.uint8)")
module = types.ModuleType("randaugment")
exec(compile(text, sys.argv[1], "exec"), module.__dict__)

GREY = (128, 128, 128)
CASES = [                                                  # names of data.h, argument, function
    ("CONTRAST", 0, lambda p, a: module.autocontrast_func(p)),
    ("EQUALIZE", 0, lambda p, a: module.equalize_func(p)),
    ("BRIGHTNESS", 0.7, module.brightness_func), ("BRIGHTNESS", 1.9, module.brightness_func),
    ("SHARPNESS", 0.1, module.sharpness_func), ("SHARPNESS", 1.6, module.sharpness_func),
    ("SHEAR_X", 0.15, lambda p, a: module.shear_x_func(p, a, GREY)),
    ("SHEAR_X", -0.3, lambda p, a: module.shear_x_func(p, a, GREY)),
    ("SHEAR_Y", 0.15, lambda p, a: module.shear_y_func(p, a, GREY)),
    ("TRANSLATE_X", 5, lambda p, a: module.translate_x_func(p, a, GREY)),
    ("TRANSLATE_Y", -3.3, lambda p, a: module.translate_y_func(p, a, GREY)),
    ("ROTATE", 15, lambda p, a: module.rotate_func(p, a, GREY)),
    ("ROTATE", -30, lambda p, a: module.rotate_func(p, a, GREY)),
]


def picture(width, height):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((30 + 7*x + 11*y + 50*c + (x*y + c) % 13 * 6) % 200 + 20).astype(np.uint8)


def digest(p):                                             # FNV-1a
    h = 0xcbf29ce484222325
    for byte in p.tobytes():
        h = (h ^ byte) * 0x100000001b3 % 2**64
    return h


for name, argument, function in CASES:
    digests = ", ".join("0x%016x" % digest(function(picture(w, h), argument)) for w, h in ((16, 16), (37, 21)))
    print("    { AUGMENT_%s, %g, { %s } }," % (name, argument, digests))
