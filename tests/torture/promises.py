"""The thirty promises of reliability and the tests that hold them, as pytest names them."""

from __future__ import annotations

from dataclasses import dataclass

STORE = "tests/bench/store/test_store.py::"
DISKS = "tests/bench/store/test_disks.py::"
LAYOUTS = "tests/bench/store/test_layouts.py::"
KEYS = "tests/bench/store/test_keys.py::"
SOURCES = "tests/bench/store/test_sources.py::"
EXECUTOR = "tests/bench/run/test_executor.py::"
RUN = "tests/bench/cli/test_run.py::"
MAIN = "tests/bench/cli/test_main.py::"
STREAMS = "tests/bench/cli/test_streams.py::"
READER = "tests/bench/declare/test_reader.py::"
STATE = "tests/bench/run/test_state.py::"
WORKER = "tests/bench/run/test_worker.py::"
SITE = "tests/bench/report/test_site.py::"
REPORT = "tests/bench/report/test_report.py::"
CLAIMS = "tests/bench/judge/test_claims.py::"
RATES = "tests/bench/judge/test_verdict_statistics.py::"
LIMITS = "tests/bench/judge/test_limits.py::"
VERSIONS = "tests/bench/versions/test_versions.py::"
TIMING = "tests/asv_bench/test_gate.py::"
COUNTS = "tests/bench/accountant/test_counts.py::"


@dataclass(frozen=True)
class Promise:
    """`tests` are names of tests, without parameters, or of whole files."""

    number: int
    text: str
    tests: tuple[str, ...]


PROMISES = (
    Promise(
        1,
        "kill -9 at any moment loses nothing that was acknowledged",
        ("tests/bench/run/test_kill.py::test_kill_at_random_moments", f"{EXECUTOR}test_kill_storm"),
    ),
    Promise(
        2,
        "a crash between any two steps of a writing leaves the old or the new",
        (
            f"{DISKS}test_a_process_killed_while_it_writes_an_artefact",
            f"{STORE}test_a_store_whose_making_was_cut_off_is_empty_and_can_be_used",
            f"{VERSIONS}test_a_process_that_is_killed_leaves_a_whole_version_or_none",
        ),
    ),
    Promise(
        3,
        "a full disk is one sentence, and what was stored stays",
        (
            f"{DISKS}test_a_full_disk_is_one_sentence_and_loses_nothing",
            f"{DISKS}test_a_disk_full_of_artefacts_leaves_nothing_half",
            f"{VERSIONS}test_a_disk_that_is_full_leaves_no_version_and_no_rubbish",
            f"{STREAMS}test_the_status_is_that_of_the_verdict",
            f"{STREAMS}test_a_full_disk_names_the_file_and_leaves_nothing_of_it",
        ),
    ),
    Promise(
        4,
        "read-only folders, files in place of folders",
        (
            f"{DISKS}test_a_folder_that_cannot_be_written_is_one_sentence",
            f"{DISKS}test_a_store_on_a_read_only_folder_can_be_read",
            f"{DISKS}test_paths_that_are_no_folder",
            f"{STREAMS}test_a_store_that_cannot_be_written_shows_what_it_has",
        ),
    ),
    Promise(
        5,
        "many runs over one store share the work",
        (
            f"{STORE}test_eight_processes_write_at_once",
            f"{EXECUTOR}test_runs_over_one_store_share_the_work",
            f"{EXECUTOR}test_a_run_that_waits_for_a_stopped_one_says_for_whom",
            f"{VERSIONS}test_writers_of_the_same_at_once_make_one_version",
        ),
    ),
    Promise(
        6,
        "no flipped bit becomes another number",
        (
            f"{STORE}test_a_flipped_bit_never_gives_another_record",
            f"{DISKS}test_a_database_with_overwritten_pages_is_reported_not_believed",
            f"{STORE}test_artefacts_are_named_by_content_and_checked_when_read",
            f"{STORE}test_whatever_is_damaged_is_told",
            f"{STORE}test_an_index_that_hides_a_record_is_told",
            f"{VERSIONS}test_one_flipped_bit_is_found",
        ),
    ),
    Promise(
        7,
        "a store cut at any length loses only what came after",
        (f"{STORE}test_a_log_cut_anywhere_loses_only_what_came_after",),
    ),
    Promise(
        8,
        "stores of every released layout are read, newer ones refused",
        (
            f"{LAYOUTS}test_stores_of_every_released_layout_are_read",
            f"{LAYOUTS}test_a_newer_store_is_refused_and_left_alone",
            f"{LAYOUTS}test_a_record_of_a_newer_schema_is_not_read_as_if_it_were_ours",
            f"{STORE}test_what_a_later_version_wrote_beside_what_is_known_is_kept",
            f"{VERSIONS}test_released_versions_are_read",
        ),
    ),
    Promise(
        9,
        "any text and number comes back as it was",
        (f"{STORE}test_any_record_comes_back_as_it_was", f"{STORE}test_what_is_not_strict_json_is_refused_whole"),
    ),
    Promise(10, "a table of 100,000 records in a second", ("tests/torture/test_size.py",)),
    Promise(
        11,
        "every ingredient changes the key, nothing else does",
        (
            f"{KEYS}test_what_changes_the_weights_changes_both_keys",
            f"{KEYS}test_what_changes_only_the_evaluation_keeps_the_fit",
            f"{KEYS}test_what_cannot_change_a_result_changes_no_key",
            f"{KEYS}test_published_weights_are_an_ingredient",
            f"{SOURCES}test_layout_does_not_count",
            f"{SOURCES}test_one_token_counts",
            f"{SOURCES}test_data_files_that_code_names_count",
            "tests/test_contents.py",
            "tests/bench/datasets/test_foreign_files.py::test_content_decides_whatever_name_size_and_time_say",
        ),
    ),
    Promise(
        12,
        "a second run executes nothing and says why a third would",
        (f"{RUN}test_the_second_run_executes_nothing", f"{RUN}test_explain_names_the_ingredient_that_changed"),
    ),
    Promise(
        13,
        "failures are told, retried and never cached",
        (
            f"{RUN}test_failures_are_shown_retried_and_never_cached",
            f"{STORE}test_failures_are_never_taken_for_results",
            f"{EXECUTOR}test_an_exception_is_never_without_a_word",
        ),
    ),
    Promise(
        14,
        "a method that does not import fails its own cases only",
        (f"{RUN}test_a_method_that_does_not_import_fails_only_its_own_cases",),
    ),
    Promise(
        15,
        "a bad suite is one sentence with its line",
        (
            f"{READER}test_bad_suites_are_refused_in_one_sentence",
            f"{READER}test_the_corpus_covers_what_it_must",
            f"{READER}test_checking_imports_nothing_heavy",
        ),
    ),
    Promise(
        16,
        "no name or link leads out of a folder",
        (
            f"{STORE}test_names_that_could_leave_the_folder_are_refused",
            f"{STORE}test_paths_that_leave_the_folder_are_refused",
            f"{SITE}test_hostile_names_of_suites_and_plots_stay_in_the_folder",
            f"{VERSIONS}test_any_text_is_a_name_inside_the_folder_or_refused",
            f"{STATE}test_the_sweep_follows_no_link",
            f"{STATE}test_the_sweep_takes_what_is_old_and_whose_process_is_gone",
        ),
    ),
    Promise(
        17,
        "mutated suites never end in a traceback",
        (f"{READER}test_mutants_of_the_example", f"{READER}test_mutants_of_what_ships"),
    ),
    Promise(
        18,
        "order, workers and neighbours change no number",
        (
            f"{EXECUTOR}test_workers_and_order_change_no_result",
            f"{RUN}test_workers_and_this_process_give_the_same_numbers",
            f"{RUN}test_runs_do_not_disturb_the_random_state_of_the_process",
            f"{STATE}test_every_generator_starts_from_the_seed",
            f"{STATE}test_settings_are_put_back",
            f"{STATE}test_what_one_row_writes_into_the_data_another_does_not_see",
            f"{WORKER}test_a_child_that_comes_back_says_nothing",
        ),
    ),
    Promise(
        19,
        "what does not repeat is named",
        (
            "tests/bench/run/test_repeat.py::test_a_repetition_certifies_every_case_and_changes_no_record",
            "tests/bench/run/test_repeat.py::test_threads_and_batches_have_figures_of_their_own",
        ),
    ),
    Promise(
        20,
        "limits of time and memory end a case and its children, no other",
        (
            f"{EXECUTOR}test_a_job_over_its_time_is_killed_with_its_children",
            f"{EXECUTOR}test_a_job_over_its_memory_is_killed",
            f"{EXECUTOR}test_a_dead_worker_fails_its_job_and_the_others_go_on",
            f"{WORKER}test_an_orphan_goes_with_its_worker",
            f"{WORKER}test_the_driver_never_waits_for_the_rest_of_an_answer",
            f"{WORKER}test_what_a_job_prints_without_end_is_kept_by_its_end",
        ),
    ),
    Promise(
        21,
        "being told to stop is heeded, and resumed from",
        (
            f"{EXECUTOR}test_an_interrupted_run_stops_and_resumes",
            f"{EXECUTOR}test_a_second_interrupt_is_immediate",
            f"{STREAMS}test_being_told_to_stop_is_an_interruption",
        ),
    ),
    Promise(
        22,
        "absent data say what to put where, offline is offline",
        (
            f"{KEYS}test_missing_data_have_another_key_than_data_at_hand",
            f"{STATE}test_offline_refuses_every_way_out",
            f"{WORKER}test_what_an_offline_job_starts_has_no_network",
            "tests/bench/datasets/test_imagenet.py::test_what_is_missing_is_said_before_anything_runs",
            "tests/bench/datasets/test_foreign_files.py::test_a_bad_file_is_named_when_the_data_are_loaded",
        ),
    ),
    Promise(
        23,
        "a missing value is never 0",
        (
            f"{RUN}test_a_missing_value_is_never_zero",
            f"{REPORT}test_a_missing_value_is_an_em_dash_with_its_reason",
            f"{CLAIMS}test_a_missing_value_is_not_zero",
            f"{CLAIMS}test_exit_statuses_tell_contradiction_from_absence",
        ),
    ),
    Promise(
        24,
        "checkpoints run nothing, and fit or are refused",
        (
            "tests/models/test_checkpoint.py",
            "tests/models/test_spikeyolo_checkpoint.py",
            "tests/models/test_spikellm_published.py",
            f"{STATE}test_a_program_in_a_checkpoint_is_not_run",
        ),
    ),
    Promise(
        25,
        "LaTeX escapes everything and is a function of its input",
        (
            f"{REPORT}TestLatex::test_escapes_undo_to_the_text",
            "tests/bench/report/test_latex_document.py::test_it_is_a_function_of_its_input_and_names_no_path",
        ),
    ),
    Promise(
        26,
        "pages show text as text and reach no network",
        (
            f"{SITE}test_no_address_leads_to_a_network_but_the_papers_own",
            f"{SITE}test_the_policy_lets_only_the_pages_own_script_and_style_run",
        ),
    ),
    Promise(
        27,
        "verdicts err as often as declared, and see what is declared",
        (
            f"{RATES}test_equal_rows_raise_no_more_false_alarms_than_declared",
            f"{RATES}test_the_declared_effect_is_seen_with_the_declared_power",
            f"{CLAIMS}test_false_alarms_stay_below_alpha",
            f"{CLAIMS}test_power_at_the_declared_effect",
            f"{LIMITS}test_skewed_and_two_valued_numbers_raise_no_more_false_alarms_than_declared",
        ),
    ),
    Promise(
        28,
        "the timing gate cries seldom and finds a slowdown",
        (
            f"{TIMING}test_without_a_change_less_than_one_in_two_hundred_comparisons_is_flagged",
            f"{TIMING}test_a_slowdown_of_half_is_found",
            f"{TIMING}test_a_quadratic_slip_is_flagged_on_a_machine_without_a_baseline",
        ),
    ),
    Promise(29, "operations are counted as closed forms say, exactly", ("tests/bench/accountant/test_counts.py",)),
    Promise(30, "a change of the code that matters fails a test", ("tests/torture/test_mutants.py",)),
)
