//! What this processor can do.

#[cfg(target_arch = "x86_64")]
/// Whether this processor has what the baseline of this name asks for; `None` if there is no such baseline.
pub fn has_baseline(name: &str) -> Option<bool> {
    let has_v2 = || {
        is_x86_feature_detected!("sse4.2")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("cmpxchg16b")
    };
    match name {
        "x86-64-v2" => Some(has_v2()),
        "x86-64-v3" => Some(
            has_v2()
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("movbe"),
        ),
        _ => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
/// Whether this processor has what the baseline of this name asks for; `None` if there is no such baseline.
pub fn has_baseline(name: &str) -> Option<bool> {
    (name == "generic").then_some(true)
}
