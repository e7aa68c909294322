//! What is looked up in descriptions; and the skeleton that a recording keeps of one answers all of
//! it alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use matrix_voip::sdp;
use matrix_voip_fuzz::skeleton;

fuzz_target!(|text: &str| {
    let lines = sdp::media_lines(text);
    assert!(lines.len() <= sdp::MAX_MEDIA_LINES);
    let kept = skeleton(text);
    assert_eq!(sdp::check(&kept), sdp::check(text));
    if sdp::check(text).is_err() {
        // No such description comes past the door.
        return;
    }
    assert_eq!(sdp::media_lines(&kept), lines);
    assert_eq!(sdp::offers_video(&kept), sdp::offers_video(text));
    assert_eq!(sdp::candidates(&kept), sdp::candidates(text));
    assert_eq!(sdp::has_telephone_events(&kept), sdp::has_telephone_events(text));
    assert_eq!(sdp::ice_ufrag(&kept).map(str::len), sdp::ice_ufrag(text).map(str::len));
});
