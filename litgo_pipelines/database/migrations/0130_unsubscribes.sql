-- Who takes no e-mail of ours any more: SendGrid answers 202 for them as for anybody, and sends nothing.
ALTER TABLE litgo.mail_suppressions DROP CONSTRAINT mail_suppressions_list_check;
ALTER TABLE litgo.mail_suppressions ADD CONSTRAINT mail_suppressions_list_check
    CHECK (list IN ('bounces', 'blocks', 'invalid_emails', 'spam_reports', 'unsubscribes'));
