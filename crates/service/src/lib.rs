//! Serves sources over HTTP
