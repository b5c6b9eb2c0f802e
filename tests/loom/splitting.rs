//! The cursor of the split.

use std::rc::Rc;

use loom::thread;

use crate::check;
use crate::cursor::Cursor;

/// Complete.
#[test]
fn each_number_is_given_once() {
    check(None, || {
        let cursor = Rc::new(Cursor::new());
        let threads = [(); 2].map(|()| {
            let cursor = Rc::clone(&cursor);
            thread::spawn(move || [cursor.next(), cursor.next()])
        });
        let own = [cursor.next(), cursor.next()];
        let [one, two] = threads.map(|thread| thread.join().unwrap());
        let mut all = [own, one, two].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    });
}
