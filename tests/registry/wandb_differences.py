"""What a W&B server cannot do of what the port of a registry promises: the tests of the contract that fail there, and why.

Each reason is in ``docs/wandb.md`` in the same words. A test that does not fail any more is an error: it is taken off the list.
"""

DATES = "A version was created when its commit began, and last changed when it was published"
CONTENT = "The same content is looked for by the server when a commit begins, not when it is published"
NOTHING_NEW = "A commit that brought nothing new is that version from then on"
DESCRIPTIONS = "No description and an empty one are the same"
TTL = "A time to live is at least a second"
LINKS = "of a portfolio, a link of a deleted version is just gone"
REPEATED = "Repeating the commit of a version that was deleted is an error that says so"
ENTITIES = "Entities are accounts and teams, and projects hold more than artifacts: neither is made nor removed here"
GIVEN_UP = "A commit that was given up is a deleted artifact on the server: it cannot be begun again under its id"
USES = "what was recorded of its use stays"
COUNTS = "Sizes and numbers of files are counted by the server"
LINEAGE = "Who logged a version is recorded when its commit begins, and never afterwards"
COLLECTIONS = (
    "A new collection is made on the server when its first commit begins, and has that commit's type from then on"
)
CHANGES = "a change in the moment between that look and the request can be lost"

DIFFERENCES = {
    "test_a_new_version_has_not_changed_since_it_was_created": DATES,
    "test_an_empty_description_is_one": DESCRIPTIONS,
    "test_a_time_to_live_of_no_seconds_is_one": TTL,
    "test_a_link_of_a_deleted_version_is_said_to_be_of_one": LINKS,
    "test_repeating_the_commit_of_a_deleted_version_does_not_bring_it_back": REPEATED,
    "test_what_was_recorded_of_an_abandoned_version_goes_with_it": USES,
    "test_an_abandoned_commit_may_begin_again": GIVEN_UP,
    "test_what_was_nothing_to_commit_is_no_reservation": NOTHING_NEW,
    "test_a_commit_that_another_one_anticipated_gets_that_version": CONTENT,
    "test_a_commit_that_another_one_anticipated_can_be_repeated_for_ever": CONTENT,
    "test_the_same_content_from_several_committers_at_once_is_one_version": CONTENT,
    "test_the_number_of_files_is_the_one_that_was_told": COUNTS,
    "test_a_collection_has_no_type_before_its_first_version": COLLECTIONS,
    "test_abandoned_first_commits_leave_the_type_open": COLLECTIONS,
    "test_a_sequence_whose_only_reservation_was_abandoned_becomes_a_portfolio": COLLECTIONS,
    "test_a_collection_whose_only_commit_was_abandoned_is_removed": COLLECTIONS,
    "test_the_first_run_that_says_so_logged_a_version": LINEAGE,
    "test_versions_that_were_recorded_in_another_order_come_oldest_first": LINEAGE,
    "test_entities_are_sorted_with_the_default_entity_among_them": ENTITIES,
    "test_what_is_empty_is_removed_and_can_be_made_again": ENTITIES,
}
"""Tests that fail, by their names."""

RACES = {
    "test_no_key_of_the_metadata_is_lost_when_clients_change_theirs_at_once": CHANGES,
    "test_what_several_claim_at_once_is_of_one_of_them_and_the_others_are_told": CHANGES,
    "test_no_value_is_lost_when_clients_change_theirs_at_once": CHANGES,
}
"""Tests that fail or not, as it happens: they are not run."""
