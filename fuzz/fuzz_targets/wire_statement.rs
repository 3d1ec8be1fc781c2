//! COM_QUERY with its attributes, and prepared statements: what is put into an execute is found there again, and nothing
//! else of it changes.
#![no_main]

use dbproxy::wire::{
    Capabilities, PrepareOk, STATEMENT_ID, Types, bulk_types, execute_types, query_text_offset, rewrite_execute,
    statement_id, wants_cursor,
};
use libfuzzer_sys::fuzz_target;

/// Writes the execute anew with these types, finds them by `find`, and takes them out again.
fn put_types<'a>(payload: &'a [u8], id: u32, known: &[u8], find: impl for<'p> Fn(&'p [u8]) -> Option<Types<'p>>) {
    let Some(place) = find(payload) else { return };
    if place.sent.is_some() {
        return;
    }
    let written = rewrite_execute(payload, id, Some((place, known)));
    assert_eq!(written.len(), payload.len() + known.len());
    assert_eq!(statement_id(&written), Ok(id));
    let found = find(&written).expect("what we write, we read");
    assert_eq!(found.sent, Some(known));
}

fuzz_target!(|input: &[u8]| {
    let Some((&[params, choice, id], payload)) = input.split_first_chunk::<3>() else { return };
    let (params, id) = (u16::from(params), u32::from(id) << 8);
    let attributes = choice & 1 != 0;
    let capabilities =
        if attributes { Capabilities::PROTOCOL_41 | Capabilities::QUERY_ATTRIBUTES } else { Capabilities::PROTOCOL_41 };
    if let Ok(offset) = query_text_offset(payload, capabilities) {
        assert!((1..=payload.len()).contains(&offset));
    }
    let _ = (PrepareOk::decode(payload), wants_cursor(payload));
    let written = rewrite_execute(payload, id, None);
    assert_eq!(written.len(), payload.len());
    if payload.len() >= STATEMENT_ID.end {
        assert_eq!((written[0], &written[5..]), (payload[0], &payload[5..]));
        assert_eq!(statement_id(&written), Ok(id));
    }
    let one: &[u8] = if attributes { &[3, 0, 0] } else { &[3, 0] };
    // A count of its own in the payload is not told: then what is known may be too short for it.
    if !attributes || payload.get(5).is_some_and(|flags| flags & 8 == 0) {
        let known = one.repeat(usize::from(params));
        put_types(payload, id, &known, |payload| execute_types(payload, params, capabilities).ok().flatten());
    } else {
        let _ = execute_types(payload, params, capabilities);
    }
    let known = [3, 0].repeat(usize::from(params));
    put_types(payload, id, &known, |payload| bulk_types(payload, params).ok().flatten());
});
