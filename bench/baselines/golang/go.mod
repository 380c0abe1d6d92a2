module spillway.bench/golang

go 1.19
