//! Golden bytes and hostile bytes.

use super::*;

fn delta() -> Delta {
    Delta {
        devices: vec!["tv".to_owned(), "other".to_owned()],
        content_types: vec!["movie".to_owned()],
        cells: vec![Cell {
            minute: 29_664_725,
            zone: 2,
            country: *b"BR",
            city: "São Paulo".to_owned(),
            counts: vec![(0, 0, 3), (1, 0, 1)],
        }],
        users: vec![(29_664_725, vec![7, 9])],
        heavy_users: vec![HeavyUser { minute: 29_664_725, n: 3, user_id: "u1".to_owned() }],
        rejected: [1, 0, 0, 0, 0, 0, 0, 2],
        late: 4,
        event_time_ms: Some(5),
    }
}

fn header() -> Header {
    Header {
        code_hash: 1,
        settings_hash: 2,
        source: Source::new(3, 4).expect("in range"),
        base_offset: 5,
        last_offset: 9,
        stored_at_ms: 6,
    }
}

fn frames() -> Vec<Vec<u8>> {
    let writer = EventsFrameWriter { documents: vec![1, 2], rejects: vec![3], accepted: 1, rejected: [0; 8] };
    let (mut plain, mut counts, mut events) = (Vec::new(), Vec::new(), Vec::new());
    writer.write(&header(), &mut plain);
    delta().encode(&mut counts);
    append_delta(&plain, &counts, &mut events).expect("an events frame");
    let mut part = Vec::new();
    DeltaFrame { header: header(), part: 0, parts: 1, delta: delta() }.encode(&mut part);
    let mut tick = Vec::new();
    let position = PartitionPosition { source: header().source, next_offset: 10, end_offset: 11 };
    Tick { wall_ms: 12, end_of_input: true, positions: vec![position] }.encode(&mut tick);
    let mut alerts = Vec::new();
    AlertsFrame { code_hash: 1, base_offset: 2, last_offset: 3, alerts: &[4], state: &[5], fault: "no" }
        .encode(&mut alerts);
    vec![plain, events, part, tick, alerts]
}

fn decodes(bytes: &[u8]) -> bool {
    match kind(bytes) {
        Ok(Kind::Events) => EventsFrame::decode(bytes)
            .is_ok_and(|frame| frame.delta.is_empty() || Delta::decode(frame.delta).is_ok()),
        Ok(Kind::Delta) => DeltaFrame::decode(bytes).is_ok(),
        Ok(Kind::Tick) => Tick::decode(bytes).is_ok(),
        Ok(Kind::Alerts) => AlertsFrame::decode(bytes).is_ok(),
        Err(_) => false,
    }
}

#[test]
fn bytes_on_the_wire_are_golden() {
    let hex: Vec<String> =
        frames().iter().map(|frame| frame.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    expect_test::expect_file!["golden.txt"].assert_eq(&(hex.join("\n") + "\n"));
}

#[test]
fn what_is_written_is_read() {
    let frames = frames();
    assert_eq!(EventsFrame::decode(&frames[0]).map(|frame| frame.delta.len()), Ok(0));
    let events = EventsFrame::decode(&frames[1]).expect("an events frame");
    assert_eq!((events.header, events.documents, events.rejects), (header(), &[1, 2][..], &[3][..]));
    assert_eq!(Delta::decode(events.delta), Ok(delta()));
    assert_eq!(DeltaFrame::decode(&frames[2]).map(|frame| frame.delta), Ok(delta()));
    assert_eq!(Tick::decode(&frames[3]).map(|tick| tick.positions[0].end_offset), Ok(11));
    assert_eq!(AlertsFrame::decode(&frames[4]).map(|alerts| alerts.fault), Ok("no"));
}

#[test]
fn cut_and_stretched_frames_are_refused() {
    for frame in frames() {
        assert!(decodes(&frame));
        for length in 0..frame.len() {
            assert!(!decodes(&frame[..length]), "cut at {length}");
        }
        let stretched = [&frame[..], &[0]].concat();
        assert!(!decodes(&stretched));
    }
}

#[test]
fn another_version_is_refused_by_name() {
    let mut frame = frames().remove(3);
    frame[3] = VERSION + 1;
    assert_eq!(Tick::decode(&frame), Err(WireError::Version(VERSION + 1)));
    frame[0] = b'X';
    assert_eq!(Tick::decode(&frame), Err(WireError::NotAFrame));
    assert_eq!(Tick::decode(&frames()[4]), Err(WireError::Kind(Kind::Alerts as u8)));
}

#[test]
fn a_hostile_count_reserves_nothing() {
    let mut frame = frames().remove(3);
    let count_at = 4 + 8 + 1;
    frame[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Tick::decode(&frame), Err(WireError::Length));
}

#[test]
fn values_that_no_frame_of_ours_holds_are_refused() {
    let decoded = |header: Header, part: u32, parts: u32, change: &dyn Fn(&mut Delta)| {
        let (mut delta, mut bytes) = (delta(), Vec::new());
        change(&mut delta);
        DeltaFrame { header, part, parts, delta }.encode(&mut bytes);
        DeltaFrame::decode(&bytes).map(|frame| frame.header)
    };
    let refused = |header: Header, part: u32, parts: u32| {
        assert_eq!(decoded(header, part, parts, &|_| {}), Err(WireError::Value), "{header:?} {part} {parts}");
    };
    refused(header(), 1, 1);
    refused(header(), u32::MAX, u32::MAX);
    refused(Header { base_offset: 10, ..header() }, 0, 1);
    refused(Header { last_offset: OFFSETS_MAX, ..header() }, 0, 1);
    refused(Header { source: Source { epoch: 0, partition: u32::MAX }, ..header() }, 0, 1);
    let changes: [&dyn Fn(&mut Delta); 14] = [
        &|delta| delta.devices = (0..257).map(|n| format!("d{n}")).collect(),
        &|delta| delta.content_types[0] = "a.b".to_owned(),
        &|delta| delta.cells[0].minute = MINUTES_END,
        &|delta| delta.cells[0].zone = 32,
        &|delta| delta.cells[0].country = [0, b'R'],
        &|delta| delta.cells[0].city = "x".repeat(97),
        &|delta| delta.cells[0].city = String::new(),
        &|delta| delta.cells[0].counts[0].0 = 2,
        &|delta| delta.cells[0].counts[0].1 = 1,
        &|delta| delta.users[0].0 = u32::MAX,
        &|delta| delta.heavy_users[0].minute = u32::MAX,
        &|delta| delta.heavy_users[0].user_id = "x".repeat(257),
        &|delta| delta.event_time_ms = Some(i64::MAX),
        &|delta| delta.event_time_ms = Some(-1),
    ];
    for (index, change) in changes.iter().enumerate() {
        assert_eq!(decoded(header(), 0, 1, change), Err(WireError::Value), "{index}");
    }
    let clocks = [i64::MIN, -1, 0, STORED_AT_MS.end, i64::MAX];
    let clocks = clocks.map(|stored_at_ms| {
        let header =
            decoded(Header { stored_at_ms, ..header() }, 0, 1, &|_| {}).expect("a time is no reason");
        header.stored_at_ms
    });
    assert_eq!(clocks, [0, 0, 0, STORED_AT_MS.end - 1, STORED_AT_MS.end - 1]);
}

#[test]
fn parts_are_bounded_and_sum_up() {
    let cell =
        |minute| Cell { minute, zone: 0, country: *b"BR", city: "Rio".to_owned(), counts: vec![(0, 0, 1)] };
    let many = |cells: usize, users: usize| Delta {
        cells: (0..cells).map(|i| cell(i as u32)).collect(),
        users: vec![
            (1, (0..users as u64 / 2).collect()),
            (2, (0..users as u64 - users as u64 / 2).collect()),
        ],
        ..delta()
    };
    assert_eq!(many(CELLS_PER_PART_MAX, USERS_PER_PART_MAX).into_parts().len(), 1);
    let whole = many(CELLS_PER_PART_MAX * 2 + 1, USERS_PER_PART_MAX + 1);
    let parts = whole.clone().into_parts();
    assert_eq!(parts.len(), 3);
    assert!(
        parts.iter().all(|p| p.cells.len() <= CELLS_PER_PART_MAX && p.user_count() <= USERS_PER_PART_MAX)
    );
    let cells: Vec<_> = parts.iter().flat_map(|part| part.cells.clone()).collect();
    assert_eq!(cells, whole.cells);
    assert_eq!(parts.iter().map(Delta::user_count).sum::<usize>(), whole.user_count());
    assert_eq!(parts.iter().map(|part| part.late).sum::<u32>(), whole.late);
    assert_eq!(parts[0].event_time_ms, None);
    let one = |minute: u32| (minute, vec![7]);
    let many = Delta { users: (0..USERS_PER_PART_MAX as u32 + 2).map(one).collect(), ..delta() };
    let minutes = many.clone().into_parts().into_iter().flat_map(|part| part.users).collect::<Vec<_>>();
    assert_eq!(minutes, many.users, "a user in each minute");
}
