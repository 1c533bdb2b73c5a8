"""The third part of `rows.py`: the options of the commands (parts 1.12 to 1.14)."""

from __future__ import annotations

from tests.acceptance.dispy_rows.rows import COMMANDS, OURS, SCHEDULERS, SHARING, TLS, UNIT

SHARED = "acceptance/test_shared_commands.py::"
RELAY = "network/test_relay.py::"

CONSOLE = SCHEDULERS + "test_console_shows_how_it_stands_and_ends"
FAILURE = COMMANDS + "test_files_go_along_and_failures_show_in_the_exit_status"

PLACES = {
    "1.12 debug": UNIT + "test_details_are_told_where_that_is_wanted",
    "1.12 daemon": SHARED + "test_programs_run_on_the_schedulers_nodes",
    "1.12 config": UNIT + "test_options_come_from_variables_and_files_too",
    "1.12 save_config": SHARED + "test_options_are_saved_without_secrets_and_read_again",
    "1.12 nodes/node": SHARED + "test_programs_run_on_the_schedulers_nodes",
    "1.12 ip_addr/host": SCHEDULERS + "test_options_of_schedulers",
    "1.12 ext_ip_addr/ext_host": SCHEDULERS + "test_options_of_schedulers",
    "1.12 ipv4_udp_multicast": UNIT + "test_every_option_comes_to_its_setting",
    "1.12 port": SHARING + "test_a_scheduler_that_is_killed_leaves_no_job_hanging",
    "1.12 node_port": SCHEDULERS + "test_options_of_schedulers",
    "1.12 scheduler_port": UNIT + "test_every_option_comes_to_its_setting",
    "1.12 node_secret": SHARING + "test_secrets_towards_nodes_and_clients_may_differ",
    "1.12 cluster_secret": SHARING + "test_secrets_towards_nodes_and_clients_may_differ",
    "1.12 node_certfile/node_keyfile": TLS + "test_a_shared_scheduler_has_certificates_of_its_own_on_each_side",
    "1.12 cluster_certfile/cluster_keyfile": TLS + "test_a_shared_scheduler_has_certificates_of_its_own_on_each_side",
    "1.12 pulse_interval": OURS + "test_reentrant_jobs_of_shared_nodes_run_elsewhere_when_their_node_is_killed",
    "1.12 ping_interval": UNIT + "test_every_option_comes_to_its_setting",
    "1.12 poll_interval": SCHEDULERS + "test_options_of_schedulers",
    "1.12 zombie_interval": SCHEDULERS + "test_a_client_that_stays_away_is_given_up",
    "1.12 msg_timeout": SCHEDULERS + "test_who_says_nothing_is_sent_away_in_time",
    "1.12 dest_path_prefix": SCHEDULERS + "test_files_of_a_scheduler_are_below_the_prefix",
    "1.12 max_file_size": SCHEDULERS + "test_files_that_are_too_large_are_refused",
    "1.12 clean": SCHEDULERS + "test_clean_forgets_the_jobs_of_a_former_life_and_ends_them",
    "1.12 httpd": "-web",
    "1.12 default policy": SHARING + "test_one_with_many_jobs_does_not_keep_out_one_with_few",
    "1.12 fair_cluster_scheduler": SCHEDULERS + "test_which_computation_is_served_first",
    "1.12 early_cluster_scheduler": SCHEDULERS + "test_which_computation_is_served_first",
    "1.12 cooperative": SHARING + "test_cpus_are_for_the_owner_of_the_scheduler_to_set",
    "1.12 cleanup_nodes": SCHEDULERS + "test_files_that_a_client_wants_to_keep_go_where_the_scheduler_says_so",
    "1.12 quit and exit": CONSOLE,
    "1.12 status": CONSOLE,
    "1.13 program": COMMANDS + "test_without_a_the_program_runs_once_and_a_name_is_found_in_path",
    "1.13 -a": COMMANDS + "test_each_a_is_a_job_and_their_output_comes_in_order",
    "1.13 -f": "test_a_program_file_by_the_command_line",
    "1.13 nodes": "test_options_of_the_command_line",
    "1.13 ip_addr": "test_options_of_the_command_line",
    "1.13 secret": "test_options_of_the_command_line",
    "1.13 certfile/keyfile": TLS + "test_the_command_line_and_local_nodes_use_certificates",
    "1.13 scheduler_node": SHARED + "test_programs_run_on_the_schedulers_nodes",
    "1.13 -c": "test_options_of_the_command_line",
    "1.13 debug": "test_options_of_the_command_line",
    "1.13 output in order": COMMANDS + "test_each_a_is_a_job_and_their_output_comes_in_order",
    "1.13 failures": FAILURE,
    "1.13 table at the end": "test_options_of_the_command_line",
    "1.13 exit code": FAILURE,
    "1.14 debug": SCHEDULERS + "test_a_relay_makes_nodes_known_to_programs_that_name_it",
    "1.14 ip_addr": SCHEDULERS + "test_a_relay_makes_nodes_known_to_programs_that_name_it",
    "1.14 scheduler_node": RELAY + "test_nodes_come_to_a_scheduler_that_a_relay_tells_them_of",
    "1.14 dispy_port": "-otherwise",
    "1.14 relay_port": SCHEDULERS + "test_a_relay_makes_nodes_known_to_programs_that_name_it",
    "1.14 scheduler_port": "-otherwise",
    "1.14 secret": RELAY + "test_a_relay_of_another_secret_relays_nothing",
    "1.14 certfile/keyfile": "-otherwise",
    "1.14 ipv4_udp_multicast": SCHEDULERS + "test_a_relay_makes_nodes_known_to_programs_that_name_it",
    "1.14 daemon": SCHEDULERS + "test_a_relay_makes_nodes_known_to_programs_that_name_it",
    "1.14 node_port": SCHEDULERS + "test_a_relay_makes_nodes_known_to_programs_that_name_it",
    "1.14 netmask": "-otherwise",
    "1.14 naming it beside a star": SCHEDULERS + "test_a_relay_makes_nodes_known_to_programs_that_name_it",
    "1.14 nodes are reached directly": RELAY
    + "test_nodes_of_another_network_are_found_through_a_relay_and_reached_directly",
}
