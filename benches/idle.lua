-- Connections that do nothing: each thread opens one, runs one statement if told to, and sleeps.
ffi.cdef("int usleep(unsigned int microseconds);")

sysbench.cmdline.options = {
   first = {"Statement that each connection runs before it sleeps", ""},
   sleep_ms = {"Milliseconds that each connection sleeps", 1000},
}

function thread_init()
   con = sysbench.sql.driver():connect()
   if sysbench.opt.first ~= "" then con:query(sysbench.opt.first) end
end

function event()
   ffi.C.usleep(sysbench.opt.sleep_ms * 1000)
end

function thread_done()
   con:disconnect()
end
