//! The inputs that fuzzing has kept (`cargo xtask fuzz`): none finds a fault any more, and the real WASM makes of
//! them what native code does, byte for byte.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use domain::anomaly::Detector;
use domain::filter_map::{Batch, Line, write_frame};
use domain::params::{AnomalySettings, FilterMapSettings, WindowSettings};
use domain::window::aggregate;
use domain::wire::{EventsFrameWriter, append_delta};
use fluvio_protocol::record::Record;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::smartmodules::{NOW_MS, chain_from, params, process, process_records};

#[path = "../fuzz/src/bytes.rs"]
pub mod bytes;
#[path = "../fuzz/src/texts.rs"]
pub mod texts;

/// Most memory of a chain: far below what a cluster gives it.
const MEMORY_BYTES_MAX: usize = 128 << 20;
/// States that a chain of its own goes on from, each of which is compiled anew.
const STATES_IN_WASM_MAX: usize = 12;

/// What takes an input, and panics where it finds a fault.
type Target = fn(&[u8]);

/// The kept inputs of a target, in the order of their names.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() > 5, "the inputs of {target} have moved");
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}

#[test]
fn no_kept_input_finds_a_fault() {
    let targets: [(&str, Target); 6] = [
        ("line", bytes::line),
        ("frame", bytes::frame),
        ("state", bytes::state),
        ("connector", texts::connector),
        ("pipeline", texts::pipeline),
        ("flags", texts::flags),
    ];
    let mut bytes_sum = 0;
    for (target, run) in targets {
        for (path, input) in inputs(target) {
            bytes_sum += input.len();
            assert!(catch_unwind(|| run(&input)).is_ok(), "{} finds a fault", path.display());
        }
    }
    assert!(bytes_sum < 1 << 20, "{bytes_sum} bytes are kept");
    let listed =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/src/bin")).expect("a folder");
    assert_eq!(listed.count(), targets.len(), "each target is replayed");
}

/// What coverage leads to takes long for these, so that at least their kept inputs are tried in many wrong ways.
#[test]
fn no_mutated_text_finds_a_fault() {
    let targets: [(&str, Target); 3] =
        [("connector", texts::connector), ("pipeline", texts::pipeline), ("flags", texts::flags)];
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    for (target, run) in targets {
        let inputs = inputs(target);
        for _ in 0..1_000 {
            let mut pick = || inputs.choose(&mut rng).expect("some").1.clone();
            let (mut input, other) = (pick(), pick());
            for _ in 0..rng.random_range(1..4) {
                let (at, from) = (rng.random_range(0..=input.len()), rng.random_range(0..=other.len()));
                let to = other.len().min(from + rng.random_range(0..30));
                let end = input.len().min(at + rng.random_range(0..6));
                input.splice(at..end, other[from..to].iter().copied());
            }
            let shown = String::from_utf8_lossy(&input);
            assert!(catch_unwind(|| run(&input)).is_ok(), "{target} finds a fault in {shown:?}");
        }
    }
}

#[test]
fn wasm_makes_of_lines_what_native_code_does() {
    let modules = streampulse::modules::load().expect("the SmartModules are built in");
    let frame_params = params(&[("output", "frame")]);
    let settings = FilterMapSettings::parse(&frame_params).expect("valid");
    let window = WindowSettings::parse(&params(&[])).expect("valid");
    let chain = [(&modules.filter_map[..], frame_params), (&modules.window_aggregate[..], params(&[]))];
    let mut wasm = chain_from(&chain, &[], MEMORY_BYTES_MAX).expect("a chain");
    let (mut writer, mut base_offset) = (EventsFrameWriter::default(), 0);
    // Whoever produces tells the time of a batch, and the place of a line in it.
    let clocks = [NOW_MS, -1, i64::MIN, i64::MAX, 0];
    for ((path, input), stored_at_ms) in inputs("line").into_iter().zip(clocks.into_iter().cycle()) {
        let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        let record = |(index, line): (i64, &&[u8])| {
            let mut record = Record::new(line.to_vec());
            record.preamble.set_offset_delta(if stored_at_ms == NOW_MS { index } else { (1 << 40) - index });
            record
        };
        let records = (0..).zip(&lines).map(record).collect();
        let from_wasm = process_records(&mut wasm, base_offset, stored_at_ms, records).expect("no fault");
        let batch = Batch { base_offset: base_offset.cast_unsigned(), stored_at_ms };
        let numbered = (batch.base_offset..).zip(&lines).map(|(offset, value)| Line { offset, value });
        let (mut frame, mut delta, mut native) = (Vec::new(), Vec::new(), Vec::new());
        write_frame(&settings, batch, numbered, &mut writer, &mut frame);
        aggregate(window, &frame).expect("a frame").encode(&mut delta);
        append_delta(&frame, &delta, &mut native).expect("a frame");
        assert!(from_wasm == [native], "{} differs", path.display());
        base_offset += lines.len() as i64;
    }
}

#[test]
fn wasm_makes_of_frames_and_states_what_native_code_does() {
    let modules = streampulse::modules::load().expect("the SmartModules are built in");
    let anomaly = [(&modules.anomaly[..], bytes::anomaly_params())];
    let settings = AnomalySettings::parse(&bytes::anomaly_params()).expect("valid");
    let mut wasm = chain_from(&anomaly, &[], MEMORY_BYTES_MAX).expect("a chain");
    let mut native = Detector::new(settings.clone(), &[]).expect("fresh");
    for (offset, (path, input)) in (0..).zip(inputs("frame")) {
        let from_wasm = process(&mut wasm, offset, std::slice::from_ref(&input));
        let native = native.run(offset.cast_unsigned(), [input.as_slice()].into_iter());
        assert!(from_wasm == [native], "{} differs", path.display());
    }
    let states = inputs("state");
    let mut taken = 0;
    for (path, input) in states.iter().step_by(states.len().div_ceil(STATES_IN_WASM_MAX)) {
        let (state, frames) = bytes::state_and_frames(input);
        let mut wasm = chain_from(&anomaly, state, MEMORY_BYTES_MAX).expect("a chain");
        let records = frames.iter().map(|frame| Record::new(frame.to_vec())).collect();
        let from_wasm = process_records(&mut wasm, 3, NOW_MS, records);
        let native = Detector::new(settings.clone(), state)
            .map(|mut native| vec![native.run(3, frames.into_iter()).to_vec()]);
        taken += usize::from(native.is_ok());
        assert!(from_wasm == native, "{} differs", path.display());
    }
    assert!(taken > 0, "a state is among them");
}
