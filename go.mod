module github.com/dcib/dcib

go 1.26
