module warehouse

go 1.19 // the Go of Debian 12

require github.com/rabbitmq/amqp091-go v1.16.0
