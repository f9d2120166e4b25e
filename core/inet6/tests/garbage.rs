//! Any frames, and the host still answers a ping, with every buffer given back.

mod common;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_frame_does_harm(data in prop::collection::vec(any::<u8>(), 0..600)) {
        common::garbage::run(&data);
    }

    #[test]
    fn no_icmp_message_does_harm(
        list in prop::collection::vec((128u8..150, prop::collection::vec(any::<u8>(), 7..120), any::<u8>()), 0..12)
    ) {
        let mut data = Vec::new();
        for (ty, body, how) in list {
            data.extend([body.len() as u8 + 1, how & !3 | 2, ty]);
            // Code 0, as all of them want it.
            data.extend([0]);
            data.extend(&body[1..]);
        }
        common::garbage::run(&data);
    }
}
