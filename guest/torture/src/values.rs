//! Operands: where formats end, and what is no number.

/// binary32.
pub const SINGLES: [u32; 26] = [
    0x0000_0000, // 0
    0x8000_0000, // -0
    0x0000_0001, // the least denormal
    0x8000_0003,
    0x0055_5555,
    0x807f_ffff, // the greatest denormal, negative
    0x0080_0000, // the least normal
    0x8080_0001,
    0x3f80_0000, // 1
    0xbf80_0000,
    0x3f80_0001,
    0xbf7f_ffff,
    0x3f00_0000, // 0.5: a tie for rounding to integers
    0xc020_0000, // -2.5
    0x4049_0fdb, // pi
    0x4b00_0001, // 2^23 + 1
    0x4eff_ffff, // the last below 2^31
    0xcf00_0000, // -2^31
    0x5f00_0000, // 2^63
    0x7f7f_ffff, // the greatest number
    0x7f80_0000, // infinity
    0xff80_0000,
    0x7fc0_0001, // quiet NaN
    0xffd2_3456,
    0x7f80_0001, // signalling NaN
    0xffa5_4321,
];

/// binary64.
pub const DOUBLES: [u64; 26] = [
    0x0000_0000_0000_0000,
    0x8000_0000_0000_0000,
    0x0000_0000_0000_0001,
    0x8000_0000_0000_0003,
    0x0005_5555_5555_5555,
    0x800f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x8010_0000_0000_0001,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    0x3ff0_0000_0000_0001,
    0xbfef_ffff_ffff_ffff,
    0x3fe0_0000_0000_0000,
    0xc004_0000_0000_0000,
    0x4009_21fb_5444_2d18,
    0x380f_ffff_f000_0000, // a binary32 denormal before rounding
    0x41df_ffff_ffe0_0000, // between 2^31 - 1 and 2^31
    0xc1e0_0000_0000_0000,
    0x43df_ffff_ffff_ffff, // the last below 2^63
    0x47ef_ffff_f000_0000, // overflows binary32 when it is rounded
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0001,
    0xfffa_3456_789a_bcde,
    0x7ff0_0000_0000_0001,
];

/// Integers of any width.
pub const INTEGERS: [u64; 14] = [
    0,
    1,
    u64::MAX,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x0100_0001,
    0x0200_0003,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0x0020_0000_0000_0001,
    0xffdf_ffff_ffff_ffff,
    0x1234_5678_9abc_def0,
    0x0000_8000_7fff_ff80,
];

/// The 80-bit format: significand, sign and exponent.
pub const EXTENDED: [(u64, u16); 29] = [
    (0, 0),
    (0, 0x8000),
    (0x8000_0000_0000_0000, 0x3fff), // 1
    (0x8000_0000_0000_0000, 0xbfff),
    (0x8000_0000_0000_0001, 0x3fff),
    (0xffff_ffff_ffff_ffff, 0xbffe),
    (0xc90f_daa2_2168_c235, 0x4000), // pi
    (0xa000_0000_0000_0000, 0xc000), // -2.5
    (0xffff_ff80_0000_0000, 0x3ffe), // a tie for binary32
    (0xffff_ffff_ffff_fc00, 0x3ffe), // a tie for binary64
    (0x8000_0000_0000_0000, 0x403e), // 2^63
    (0xffff_ffff_ffff_ffff, 0xc03d),
    (0xffff_0000_0000_0000, 0x401d), // 2^31 less a bit
    (0xde0b_6b3a_763f_fff0, 0x403a), // near the end of packed BCD
    (0xffff_ff00_0000_0000, 0x3f80), // near the least binary32
    (0xffff_ffff_ffff_f800, 0x3c00), // near the least binary64
    (0x8000_0000_0000_0000, 0x0001), // the least normal
    (0xffff_ffff_ffff_ffff, 0x7ffe), // the greatest number
    (0x0000_0000_0000_0001, 0x0000), // denormals
    (0x7fff_ffff_ffff_ffff, 0x8000),
    (0x8000_0000_0000_0000, 0x0000), // a pseudo-denormal
    (0x8000_0000_0000_0000, 0x7fff), // infinity
    (0x8000_0000_0000_0000, 0xffff),
    (0xc000_0000_0000_0001, 0x7fff), // quiet NaN
    (0xd234_5678_9abc_def0, 0xffff),
    (0x8000_0000_0000_0001, 0x7fff), // signalling NaN
    (0xa543_2100_0000_0000, 0xffff),
    (0x4000_0000_0000_0000, 0x3fff), // an unnormal
    (0x0000_0000_0000_0000, 0x7fff), // a pseudo-infinity
];
