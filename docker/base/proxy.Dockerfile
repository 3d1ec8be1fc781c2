# A dbproxy that was built on this machine, with the libraries that it loads and nothing else.
FROM scratch
COPY root/ /
COPY --chown=10001:10001 data/ /var/lib/dbproxy/
USER 10001
VOLUME /var/lib/dbproxy
ENTRYPOINT ["/usr/local/bin/dbproxy"]
CMD ["run"]
EXPOSE 6033 6080
