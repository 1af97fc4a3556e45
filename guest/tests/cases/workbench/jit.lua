local function mandelbrot(size)
    local count = 0
    for y = 0, size - 1 do
        for x = 0, size - 1 do
            local cr, ci, zr, zi, turns = 2 * x / size - 1.5, 2 * y / size - 1, 0, 0, 0
            while turns < 50 and zr * zr + zi * zi < 4 do
                zr, zi = zr * zr - zi * zi + cr, 2 * zr * zi + ci
                turns = turns + 1
            end
            count = count + turns
        end
    end
    return count
end

local function spectral(n)
    local function a(i, j) return 1 / ((i + j) * (i + j + 1) / 2 + i + 1) end
    local u, v = {}, {}
    for i = 0, n - 1 do u[i] = 1 end
    for _ = 1, 4 do
        for i = 0, n - 1 do
            local sum = 0
            for j = 0, n - 1 do sum = sum + a(i, j) * u[j] end
            v[i] = sum
        end
        u, v = v, u
    end
    return u[0], u[n - 1]
end

local function strings()
    local parts = {}
    for i = 1, 20000 do parts[#parts + 1] = string.format("%d:%x:%.3f", i, i * 7, i / 3) end
    local text = table.concat(parts, ","):gsub("(%d+):(%x+)", "%2-%1"):upper():reverse()
    local hash = 0
    for i = 1, #text do hash = bit.bxor(bit.rol(hash, 5), text:byte(i)) end
    return #text, bit.tohex(hash)
end

local ffi = require("ffi")
ffi.cdef [[ typedef struct { double x; int32_t n[4]; uint64_t u; } thing; double cos(double); int snprintf(char *, size_t, const char *, ...); ]]
local function foreign()
    local things, sum = ffi.new("thing[1000]"), 0ULL
    for turn = 1, 50 do
        for i = 0, 999 do
            things[i].x = ffi.C.cos(i + turn)
            things[i].n[i % 4] = things[i].n[i % 4] + turn
            things[i].u = things[i].u * 6364136223846793005ULL + i
        end
    end
    local x, n = 0, 0
    for i = 0, 999 do x, n, sum = x + things[i].x, n + things[i].n[i % 4], sum + things[i].u end
    return string.format("%.17g", x), n, tostring(sum)
end

local function many()
    -- Each turn is a function of its own, so that code comes and goes.
    local sum = 0
    for i = 1, 300 do
        local f = loadstring("local s = 0 for i = 1, 200 do s = s + i % " .. i .. " * 0.5 end return s")
        sum = sum + f()
        if i % 50 == 0 then collectgarbage() end
    end
    return sum
end

print(mandelbrot(200), string.format("%a %a", spectral(200)), strings())
print(foreign())
print(many())
