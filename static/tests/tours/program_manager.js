/** @odoo-module **/

import {
    addTour,
    choose,
    click,
    fill,
    given,
    look,
    openPage,
    press,
    see,
    seeNo,
} from "@g2p_payment_simple_mpesa/../tests/tours/steps";

// From the list of payment managers: enters a gateway, tests it, and makes it the program's payment manager.
addTour("g2p_mpesa_set_up", () => {
    const { program, urls, user, password } = given();
    return [
        look("managers"),
        click(".o_list_button_add, .o-kanban-button-new"),
        see(".o_form_view"),
        fill("name", "M-Pesa Kenya"),
        ...choose("program_id", program),
        fill("auth_endpoint_url", urls.login),
        fill("payment_endpoint_url", urls.deposit),
        fill("balance_endpoint_url", urls.balance),
        fill("username", user),
        fill("password", "wrong"),
        look("filled-in"),
        ...["Payee", "Limits & speed", "Batches"].flatMap((page) => [openPage(page), look(page.split(" ")[0])]),
        see(".o_field_widget[name='batch_tag_ids'] .o_data_row"),
        click(".o_form_button_save"),
        see(".alert", "Not in use yet"),
        press("action_test_connection"),
        see(".o_notification", "does not accept user name and password"),
        openPage("Gateway"),
        look("wrong-password"),
        fill("password", password),
        click(".o_form_button_save"),
        see(".o_form_saved, .o_form_view:not(:has(.o_form_status_indicator_buttons:not(.invisible)))"),
        press("action_test_connection"),
        see(".o_notification", "the float is"),
        seeNo(".o_notification", "does not accept"),
        look("it-works"),
        press("action_use_for_program"),
        see(".o_notification", `${program} pays by this gateway`),
        seeNo(".alert", "Not in use yet"),
        openPage("History"),
        see(".o_field_widget[name='recent_attempt_ids'] .o_data_row"),
        look("history"),
    ];
});

// From a cycle of twelve, of whom one has no payee ID and one gets cents: prepares, looks who cannot be paid, sends.
addTour("g2p_mpesa_send", () => [
    look("cycle-before"),
    press("prepare_payment"),
    see(".o_notification", "12 payments are prepared"),
    look("prepared"),
    press("send_payment"),
    see(".modal", "Test mode"),
    see(".modal .o_field_widget[name='count']", "10"),
    see(".modal", "no payee ID"),
    look("dialogue"),
    click(".modal button", "Show"),
    see(".o_list_view .o_data_row"),
    look("who-cannot-be-paid"),
    click(".o_back_button a"),
    press("send_payment"),
    click(".modal button[name='action_send']"),
    see(".o_notification", "sent now"),
    seeNo(".modal"),
    see(".o_g2p_mpesa_progress", "9 of 12"),
    look("sent"),
]);

// From a batch that jobs send: sends, and watches it move.
addTour("g2p_mpesa_progress", () => [
    press("send_payment"),
    click(".modal button[name='action_send']"),
    see(".o_notification", "on their way"),
    look("under-way"),
    look("all-are-paid"),
    see(".o_g2p_mpesa_progress", "60 of 60"),
    look("through"),
]);

// From a batch with a doubt, as who has sent it: sees the doubt, and is not offered to settle it.
addTour("g2p_mpesa_not_theirs", () => [
    see(".alert button", "Show Doubts"),
    seeNo(".alert button:contains('Settle Doubts')"),
    click(".alert button", "Show Doubts"),
    click(".o_data_row .o_data_cell"),
    see(".o_form_view .o_form_sheet h1", "Person"),
    seeNo("button:contains('Settle')"),
    look("no-settle-for-the-sender"),
]);
