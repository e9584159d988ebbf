SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.alias (
    id text NOT NULL,
    project text NOT NULL,
    name text NOT NULL,
    created_at bigint NOT NULL,
    version_id text NOT NULL,
    previous_version_id text,
    fence bigint NOT NULL,
    updated_at bigint NOT NULL,
    observed_version_id text,
    observed_fence bigint NOT NULL,
    observed_at bigint,
    observed_error text,
    leader text,
    heartbeats bigint
);
CREATE TABLE public.api_key (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    status character varying(32) NOT NULL,
    fence bigint NOT NULL,
    scopes json NOT NULL,
    digest text NOT NULL,
    previous_digest text,
    previous_ends_at bigint,
    expires_at bigint,
    requests_per_minute bigint,
    tokens_per_minute bigint,
    max_concurrency bigint,
    updated_at bigint NOT NULL
);
CREATE TABLE public.dataset (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    status character varying(32) NOT NULL,
    content_hash text NOT NULL,
    path text NOT NULL,
    origin text NOT NULL,
    train_rows bigint NOT NULL,
    validation_rows bigint NOT NULL,
    test_rows bigint NOT NULL,
    report json NOT NULL
);
CREATE TABLE public.decision (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    verdict character varying(32) NOT NULL,
    status character varying(32) NOT NULL,
    trigger text NOT NULL,
    remedy text NOT NULL,
    reasons json NOT NULL,
    known json NOT NULL,
    check_id text,
    dataset_id text,
    run_id text,
    version_id text,
    updated_at bigint NOT NULL,
    error text
);
CREATE TABLE public.deployment (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    alias text NOT NULL,
    version_id text NOT NULL,
    stage character varying(32) NOT NULL,
    share double precision NOT NULL,
    fence bigint NOT NULL,
    reason text NOT NULL,
    updated_at bigint NOT NULL
);
CREATE TABLE public.drift_window (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    version_id text NOT NULL,
    number bigint NOT NULL,
    rows bigint NOT NULL,
    started_at bigint,
    ended_at bigint,
    over_in_a_row json NOT NULL
);
CREATE TABLE public.driftwheel_revision (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.judgement (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    first_version_id text NOT NULL,
    second_version_id text NOT NULL,
    dataset_id text NOT NULL,
    item_id text NOT NULL,
    judge text NOT NULL,
    preference character varying(32) NOT NULL,
    first_was_left boolean
);
CREATE TABLE public.req (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    alias text NOT NULL,
    version_id text NOT NULL,
    route text NOT NULL,
    status_code bigint NOT NULL,
    is_stream boolean NOT NULL,
    is_partial boolean NOT NULL,
    prompt text NOT NULL,
    request text NOT NULL,
    answer text NOT NULL,
    finish_reason text,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    mean_logprob double precision,
    latency_seconds double precision NOT NULL,
    time_to_first_token_seconds double precision,
    key_id text NOT NULL,
    user_id text NOT NULL,
    conversation_id text NOT NULL,
    error text,
    thumb bigint,
    label text,
    label_source text,
    feedback_at bigint,
    response text,
    check_id text
);
CREATE TABLE public.run (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    status character varying(32) NOT NULL,
    dataset_id text NOT NULL,
    base_model text NOT NULL,
    method text NOT NULL,
    settings json NOT NULL,
    settings_hash text NOT NULL,
    seed bigint NOT NULL,
    path text NOT NULL,
    metrics json NOT NULL,
    finished_at bigint,
    error text
);
CREATE TABLE public.signal (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    version_id text NOT NULL,
    kind character varying(32) NOT NULL,
    feature text NOT NULL,
    method text NOT NULL,
    score double precision NOT NULL,
    threshold double precision NOT NULL,
    p_value double precision,
    reference_rows bigint NOT NULL,
    current_rows bigint NOT NULL,
    window_started_at bigint,
    window_ended_at bigint,
    verdict character varying(32) NOT NULL,
    check_id text NOT NULL,
    report_path text,
    details json NOT NULL
);
CREATE TABLE public.step (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    decision_id text NOT NULL,
    name text NOT NULL,
    status text NOT NULL,
    attempt bigint NOT NULL,
    finished_at bigint,
    output json NOT NULL,
    error text
);
CREATE TABLE public.switch (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    value text NOT NULL,
    updated_at bigint NOT NULL
);
CREATE TABLE public.version (
    id text NOT NULL,
    project text NOT NULL,
    created_at bigint NOT NULL,
    status character varying(32) NOT NULL,
    number bigint NOT NULL,
    run_id text NOT NULL,
    dataset_id text NOT NULL,
    base_model text NOT NULL,
    path text NOT NULL,
    manifest_hash text NOT NULL,
    quantization text NOT NULL,
    scorecard json NOT NULL,
    verdict json NOT NULL,
    fingerprint json NOT NULL,
    lineage json NOT NULL
);
INSERT INTO public.alias VALUES ('support/support', 'support', 'support', 1767323045678901, 'version_0', 'version_gone', 3, 1767323045678901, 'version_0', 3, 1767323045678901, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', 'host:1234', 99);
INSERT INTO public.alias VALUES ('billing/billing', 'billing', 'billing', 1767409445678902, 'version_1', NULL, 3, 1767409445678902, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.api_key VALUES ('support/web', 'support', 1767323045678901, 'active', 2, '["ask"]', 'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', 'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee', 1767323045678901, 1767323045678901, 60, 1099511627776, 4, 1767323045678901);
INSERT INTO public.api_key VALUES ('billing/web', 'billing', 1767409445678902, 'active', 1, '["ask"]', 'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', NULL, NULL, NULL, NULL, NULL, NULL, 1767409445678902);
INSERT INTO public.dataset VALUES ('dataset_0', 'support', 1767323045678901, 'ready', 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', '/srv/loop/.driftwheel/datasets/dataset_0', 'files', 980, 120, 120, '{"rows_in": 1312, "broken": 0, "dropped": {"duplicate": 40}, "broken_rows": [], "labels": {"card_lost": 420}, "distinct_labels": 1, "sources": {"files": 1220}, "slices": {"train": {"old": 980}}, "prompt_characters": {"p50": 61, "p95": 140, "max": 310}, "prompt_words": {"p50": 11, "p95": 25, "max": 60}, "answer_characters": {"p50": 40, "p95": 52, "max": 70}}');
INSERT INTO public.dataset VALUES ('dataset_1', 'billing', 1767409445678902, 'ready', 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', '/srv/loop/.driftwheel/datasets/dataset_1', 'files', 980, 120, 120, '{"prompt_characters": null, "prompt_words": null, "answer_characters": null, "tokens": null, "rows_cut_by_max_length": null, "tokens_not_counted": null, "rows_in": null, "broken": null, "broken_rows": [], "dropped": {}, "mixed": {}, "paraphrases": {"model": "", "asked": 0, "failed": null}, "personal_data": {}, "is_redacted": false, "labels_seen_once": [], "tested_before": 0, "time_cuts": {}, "labels": {}, "distinct_labels": 0, "sources": {}, "slices": {}, "parent": null, "objective": null, "preferences": {}}');
INSERT INTO public.decision VALUES ('decision_0', 'support', 1767323045678901, 'retrain', 'promoted', 'policy', 'retrain', '["na\u00efve \"quoted\" ''text'' \u65e5\u672c \ud83d\ude97\nsecond line; DROP TABLE req; --", "quality fell"]', '{"rows": 3}', 'check_0', 'dataset_0', 'run_0', 'version_0', 1767323045678901, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --');
INSERT INTO public.decision VALUES ('decision_1', 'billing', 1767409445678902, 'retrain', 'promoted', 'policy', 'retrain', '["na\u00efve \"quoted\" ''text'' \u65e5\u672c \ud83d\ude97\nsecond line; DROP TABLE req; --", "quality fell"]', '{"version_id": null, "verdicts": {}, "fresh_labels": null, "refused_in_a_row": null}', NULL, NULL, NULL, NULL, 1767409445678902, NULL);
INSERT INTO public.deployment VALUES ('deployment_0', 'support', 1767323045678901, 'support', 'version_0', 'live', 1, 3, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', 1767323045678901);
INSERT INTO public.deployment VALUES ('deployment_1', 'billing', 1767409445678902, 'billing', 'version_1', 'live', 1, 3, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', 1767409445678902);
INSERT INTO public.drift_window VALUES ('check_0', 'support', 1767323045678901, 'version_0', 1, 200, 1767323045678901, 1767323045678901, '{"engine": 2}');
INSERT INTO public.drift_window VALUES ('check_1', 'billing', 1767409445678902, 'version_1', 1, 200, NULL, NULL, '{}');
INSERT INTO public.driftwheel_revision VALUES ('5');
INSERT INTO public.judgement VALUES ('judgement_0', 'support', 1767323045678901, 'version_0', 'version_0', 'dataset_0', 'test-1', 'Ann', 'first', true);
INSERT INTO public.judgement VALUES ('judgement_1', 'billing', 1767409445678902, 'version_1', 'version_1', 'dataset_1', 'test-1', 'Ann', 'first', NULL);
INSERT INTO public.req VALUES ('req_0_0', 'support', 1767323045678901, 'support', 'version_0', 'chat', 503, true, true, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', '{"model": "x"}', 'answer 0', 'stop', 5, 7, -0.1, 0.125, 0.01, 'web', 'u', 'c', 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', -1, 'card_lost', 'label', 1767323045678901, '{"answer": "é"}', NULL);
INSERT INTO public.req VALUES ('req_0_1', 'support', 1767323045679901, 'support', 'version_0', 'chat', 200, true, true, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', '{"model": "x"}', 'answer 1', 'stop', 5, 7, -0.1, 1.125, 0.01, 'web', 'u', 'c', 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', -1, 'card_lost', 'label', 1767323045678901, '{"answer": "é"}', NULL);
INSERT INTO public.req VALUES ('req_0_2', 'support', 1767323045680901, 'support', 'version_0', 'chat', 200, true, true, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', '{"model": "x"}', 'answer 2', 'stop', 5, 7, -0.1, 2.125, 0.01, 'web', 'u', 'c', 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', -1, 'card_lost', 'label', 1767323045678901, '{"answer": "é"}', NULL);
INSERT INTO public.req VALUES ('req_1_0', 'billing', 1767409445678902, 'billing', 'version_1', 'chat', 503, false, false, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', '', 'answer 0', NULL, 0, 0, NULL, 0.125, NULL, '', '', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.req VALUES ('req_1_1', 'billing', 1767409445679902, 'billing', 'version_1', 'chat', 200, false, false, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', '', 'answer 1', NULL, 0, 0, NULL, 1.125, NULL, '', '', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.req VALUES ('req_1_2', 'billing', 1767409445680902, 'billing', 'version_1', 'chat', 200, false, false, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --', '', 'answer 2', NULL, 0, 0, NULL, 2.125, NULL, '', '', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.run VALUES ('run_0', 'support', 1767323045678901, 'succeeded', 'dataset_0', '/models/base', 'lora', '{"learning_rate": 0.0002}', 'h', 7, '/srv/loop/.driftwheel/runs/run_0', '{"train_loss": 0.31}', 1767326645678901, 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --');
INSERT INTO public.run VALUES ('run_1', 'billing', 1767409445678902, 'succeeded', 'dataset_1', '/models/base', 'lora', '{"learning_rate": 0.0002}', 'h', 7, '/srv/loop/.driftwheel/runs/run_1', '{"train_loss": null, "eval_loss": null, "steps": null, "best_step": null, "epochs": null, "stopped_early": null, "tokens": null, "tokens_per_second": null, "train_seconds": null, "trainable_parameters": null, "parameters": null, "peak_memory_bytes": null, "reward_margin": null, "resumed_from_step": null}', NULL, NULL);
INSERT INTO public.signal VALUES ('signal_0', 'support', 1767323045678901, 'version_0', 'engine', 'all', 'ks', 0.25, 0.5, 1e-12, 1000, 200, 1767323045678901, 1767323045678901, 'steady', 'check_0', '/srv/loop/.driftwheel/reports/check_0', '{"request_ids": ["req_0_0"], "errors": 0}');
INSERT INTO public.signal VALUES ('signal_1', 'billing', 1767409445678902, 'version_1', 'engine', 'all', 'ks', 0.25, 0.5, NULL, 1000, 200, NULL, NULL, 'steady', 'check_1', NULL, '{"level": null, "features": {}, "shifted_words": [], "strangest_prompts": [], "evidently": null, "accuracy": null, "baseline": null, "labelled_rows": null, "error_share": null, "latency_ratio": null}');
INSERT INTO public.step VALUES ('decision_0/train', 'support', 1767323045678901, 'decision_0', 'train', 'done', 2, 1767323045678901, '{"run_id": "run_0"}', 'naïve "quoted" ''text'' 日本 🚗
second line; DROP TABLE req; --');
INSERT INTO public.step VALUES ('decision_1/train', 'billing', 1767409445678902, 'decision_1', 'train', 'done', 1, NULL, '{}', NULL);
INSERT INTO public.switch VALUES ('support/paused', 'support', 1767323045678901, 'yes', 1767323045678901);
INSERT INTO public.switch VALUES ('billing/paused', 'billing', 1767409445678902, '', 1767409445678902);
INSERT INTO public.version VALUES ('version_0', 'support', 1767323045678901, 'published', 1, 'run_0', 'dataset_0', '/models/base', '/srv/loop/.driftwheel/artifacts/version_0', 'mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm', 'w8a8', '{"task": "labels", "items": 120, "accuracy": 0.91, "exact_match": 0.9, "macro_f1": 0.91, "precision_macro": 0.91, "recall_macro": 0.91, "json_validity": 0.99, "rouge_l": null, "latency_p50_seconds": 0.08, "latency_p95_seconds": 0.15, "perplexity": 1.2, "slices": {"old": {"items": 120, "accuracy": 0.91}}, "intervals": {"accuracy": [0.86, 0.97]}, "calibration_error": 0.04, "brier": 0.06}', '{"verdict": "PROMOTE", "reason": "na\u00efve \"quoted\" ''text'' \u65e5\u672c \ud83d\ude97\nsecond line; DROP TABLE req; --", "difference": 0.02, "interval": [-0.01, 0.05], "items": 120, "items_needed": null, "notes": ["Decided at the level 0.05"], "slices": []}', '{"probes": [], "base_probes": null}', '{"run_id": "run_0", "seed": 7}');
INSERT INTO public.version VALUES ('version_1', 'billing', 1767409445678902, 'published', 1, 'run_1', 'dataset_1', '/models/base', '/srv/loop/.driftwheel/artifacts/version_1', 'mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm', 'w8a8', '{"task": null, "items": 0, "unanswered": 0, "accuracy": null, "exact_match": null, "json_validity": null, "object_match": null, "precision_macro": null, "recall_macro": null, "macro_f1": null, "precision_micro": null, "recall_micro": null, "micro_f1": null, "labels": null, "confusion": null, "intervals": {}, "calibration_error": null, "brier": null, "reliability": null, "fields": null, "rouge_1": null, "rouge_2": null, "rouge_l": null, "bleu": null, "chrf": null, "token_f1": null, "latency_p50_seconds": null, "latency_p95_seconds": null, "prompt_tokens_mean": null, "completion_tokens_mean": null, "slices": {}, "outside_label_set": null, "outside_schema": null, "outside_prompt": null, "prompt_overlap": null, "completion_tokens_per_second": null, "robustness": null, "general": null, "perplexity": null, "dataset_id": null, "engine_start_seconds": null, "parity": null, "predictions_path": null, "baseline": null, "earlier_baseline": null}', '{"verdict": null, "reason": "", "difference": null, "interval": null, "p_value": null, "level": null, "items": 0, "items_needed": null, "detectable_gain": null, "confidence": null, "slices": [], "watched": null, "fixed": [], "unmeasured": [], "max_looks": null, "looks": 0, "live_version_id": null, "notes": [], "general": null}', '{"probes": [], "base_probes": null}', '{"dataset_id": null, "dataset_hash": null, "dataset_origin": null, "run_id": null, "seed": null, "method": null, "merged_from": null, "base_model": null, "base_revision": null, "served_as": "merged", "training_settings_hash": null, "settings_hash": null, "template_hash": null, "tokenizer_hash": null, "judged_against": null, "decision_id": null, "code_revision": null, "libraries": {}}');
ALTER TABLE ONLY public.alias
    ADD CONSTRAINT alias_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.api_key
    ADD CONSTRAINT api_key_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.dataset
    ADD CONSTRAINT dataset_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.decision
    ADD CONSTRAINT decision_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.deployment
    ADD CONSTRAINT deployment_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.drift_window
    ADD CONSTRAINT drift_window_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.driftwheel_revision
    ADD CONSTRAINT driftwheel_revision_pkey PRIMARY KEY (version_num);
ALTER TABLE ONLY public.judgement
    ADD CONSTRAINT judgement_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.req
    ADD CONSTRAINT req_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT run_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.signal
    ADD CONSTRAINT signal_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.step
    ADD CONSTRAINT step_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.switch
    ADD CONSTRAINT switch_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.version
    ADD CONSTRAINT version_pkey PRIMARY KEY (id);
CREATE INDEX ix_alias_project_created_at ON public.alias USING btree (project, created_at);
CREATE INDEX ix_api_key_project_created_at ON public.api_key USING btree (project, created_at);
CREATE INDEX ix_dataset_project_created_at ON public.dataset USING btree (project, created_at);
CREATE INDEX ix_decision_project_created_at ON public.decision USING btree (project, created_at);
CREATE INDEX ix_decision_project_verdict ON public.decision USING btree (project, verdict, created_at, status, trigger);
CREATE INDEX ix_deployment_project_created_at ON public.deployment USING btree (project, created_at);
CREATE INDEX ix_drift_window_project_created_at ON public.drift_window USING btree (project, created_at);
CREATE UNIQUE INDEX ix_drift_window_version_id_number ON public.drift_window USING btree (version_id, number);
CREATE INDEX ix_judgement_project_created_at ON public.judgement USING btree (project, created_at);
CREATE INDEX ix_req_alias_version_id_created_at ON public.req USING btree (alias, version_id, created_at);
CREATE INDEX ix_req_labelled ON public.req USING btree (project, alias, feedback_at, created_at) WHERE (label IS NOT NULL);
CREATE INDEX ix_req_project_created_at ON public.req USING btree (project, created_at);
CREATE INDEX ix_req_unread ON public.req USING btree (alias, version_id, created_at) WHERE (check_id IS NULL);
CREATE INDEX ix_run_project_created_at ON public.run USING btree (project, created_at);
CREATE INDEX ix_signal_check_id ON public.signal USING btree (project, check_id, created_at);
CREATE INDEX ix_signal_project_created_at ON public.signal USING btree (project, created_at);
CREATE INDEX ix_signal_version_id_kind ON public.signal USING btree (version_id, feature, kind, created_at);
CREATE INDEX ix_step_project_created_at ON public.step USING btree (project, created_at);
CREATE INDEX ix_switch_project_created_at ON public.switch USING btree (project, created_at);
CREATE INDEX ix_version_project_created_at ON public.version USING btree (project, created_at);
ALTER TABLE ONLY public.alias
    ADD CONSTRAINT fk_alias_version_id FOREIGN KEY (version_id) REFERENCES public.version(id);
ALTER TABLE ONLY public.decision
    ADD CONSTRAINT fk_decision_dataset_id FOREIGN KEY (dataset_id) REFERENCES public.dataset(id);
ALTER TABLE ONLY public.decision
    ADD CONSTRAINT fk_decision_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.decision
    ADD CONSTRAINT fk_decision_version_id FOREIGN KEY (version_id) REFERENCES public.version(id);
ALTER TABLE ONLY public.deployment
    ADD CONSTRAINT fk_deployment_version_id FOREIGN KEY (version_id) REFERENCES public.version(id);
ALTER TABLE ONLY public.drift_window
    ADD CONSTRAINT fk_drift_window_version_id FOREIGN KEY (version_id) REFERENCES public.version(id);
ALTER TABLE ONLY public.judgement
    ADD CONSTRAINT fk_judgement_dataset_id FOREIGN KEY (dataset_id) REFERENCES public.dataset(id);
ALTER TABLE ONLY public.judgement
    ADD CONSTRAINT fk_judgement_first_version_id FOREIGN KEY (first_version_id) REFERENCES public.version(id);
ALTER TABLE ONLY public.judgement
    ADD CONSTRAINT fk_judgement_second_version_id FOREIGN KEY (second_version_id) REFERENCES public.version(id);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT fk_run_dataset_id FOREIGN KEY (dataset_id) REFERENCES public.dataset(id);
ALTER TABLE ONLY public.signal
    ADD CONSTRAINT fk_signal_version_id FOREIGN KEY (version_id) REFERENCES public.version(id);
ALTER TABLE ONLY public.step
    ADD CONSTRAINT fk_step_decision_id FOREIGN KEY (decision_id) REFERENCES public.decision(id);
ALTER TABLE ONLY public.version
    ADD CONSTRAINT fk_version_dataset_id FOREIGN KEY (dataset_id) REFERENCES public.dataset(id);
ALTER TABLE ONLY public.version
    ADD CONSTRAINT fk_version_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
