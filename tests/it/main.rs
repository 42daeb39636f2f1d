
mod channels;
