DROP TABLE outseal_audit;
DROP TABLE outseal_finding;
DROP TABLE outseal_run;
