// An upload service as one writes it for Node: fastify, its rate limit and multipart plugins, a bounded
// queue in an array, and sharp (libvips). Arguments: the folder for the images; the length of the queue.

import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import multipart from '@fastify/multipart'
import rateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import sharp from 'sharp'

const [folder, places = '100'] = process.argv.slice(2)
const QUEUE_SIZE = Number(places)
const WORKERS = availableParallelism()
const SIDES = { large: 1600, medium: 800, small: 320, thumb: 96 }

sharp.concurrency(1) // a thread for each job, WORKERS jobs at once
const waiting = []
let running = 0

async function resize ({ id, photo }) {
  const home = join(folder, id)
  await mkdir(home, { recursive: true })
  for (const [name, side] of Object.entries(SIDES)) {
    await sharp(photo)
      .rotate()
      .resize(side, side, { fit: 'inside', withoutEnlargement: true })
      .jpeg({ quality: 80 })
      .toFile(join(home, `${name}.jpg`))
  }
}

function next () {
  while (running < WORKERS && waiting.length > 0) {
    running += 1
    resize(waiting.shift())
      .catch((error) => console.error(error))
      .finally(() => { running -= 1; next() })
  }
}

const app = Fastify({ bodyLimit: 33_554_432 })
await app.register(rateLimit, { max: 10, timeWindow: 5000, cache: 100_000 })
await app.register(multipart, { limits: { fileSize: 33_554_432, files: 1 } })

app.post('/v1/images', async (request, reply) => {
  if (waiting.length >= QUEUE_SIZE) {
    return reply.code(503).header('retry-after', '1').send({ error: 'the queue is full' })
  }
  const file = await request.file()
  const photo = await file.toBuffer()
  if (waiting.length >= QUEUE_SIZE) { // it has filled meanwhile
    return reply.code(503).header('retry-after', '1').send({ error: 'the queue is full' })
  }
  const id = randomUUID()
  waiting.push({ id, photo })
  next()
  return reply.code(202).send({ id })
})

const address = await app.listen({ host: '127.0.0.1', port: 0, backlog: 2048 })
console.log(address)
