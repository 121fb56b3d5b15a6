//! The marks of runs that are active without progress.

use super::*;

pub(super) async fn marks_are_counted_for_each_run_until_they_are_removed(journal: &impl Journal) {
    let (one, other) = (accepted(journal, "a1", 0).await, accepted(journal, "a2", 0).await);
    assert_eq!(journal.active_marks(&one).await.unwrap(), 0);
    journal.clear_active(&one).await.unwrap();
    for marks in 1..=3 {
        journal.mark_active(&one).await.unwrap();
        assert_eq!(journal.active_marks(&one).await.unwrap(), marks);
    }
    journal.mark_active(&other).await.unwrap();
    journal.clear_active(&one).await.unwrap();
    assert_eq!(journal.active_marks(&one).await.unwrap(), 0);
    assert_eq!(journal.active_marks(&other).await.unwrap(), 1, "another run keeps its marks");
    journal.mark_active(&one).await.unwrap();
    assert_eq!(journal.active_marks(&one).await.unwrap(), 1, "the count begins again");
}

pub(super) async fn marks_survive_their_process<J: Journal>(journal: J, reopen: &impl AsyncFn(J) -> J) {
    let run = accepted(&journal, "a1", 0).await;
    journal.mark_active(&run).await.unwrap();
    let journal = reopen(journal).await;
    journal.mark_active(&run).await.unwrap();
    let journal = reopen(journal).await;
    assert_eq!(journal.active_marks(&run).await.unwrap(), 2);
    journal.clear_active(&run).await.unwrap();
    assert_eq!(reopen(journal).await.active_marks(&run).await.unwrap(), 0);
}
