package pocketseg.live

import org.json.JSONArray
import org.json.JSONObject
import pocketseg.model.Device
import pocketseg.model.Segmenter
import pocketseg.model.outputTensor
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Random

/** One model's times of inference alone. [speed] is a multiple of the first model's. */
class Run(val model: String, val device: Device, val runs: Int, val times: Percentiles, val speed: Double)

/** Of a model that was not in memory yet. */
class ColdStart(val model: String, val loadMs: Double, val firstMs: Double, val memoryMib: Double)

/**
 * Times models in turn, run by run, so that a change of the phone's speed meets them all alike: `tflite.benchmark`'s
 * protocol. Null when [stopped] became true. The models are opened and closed here.
 */
fun measure(
    models: List<Pair<String, () -> Segmenter>>, warmup: Int, repeats: Int, clock: Clock = Clock.SYSTEM,
    stopped: () -> Boolean = { false }, progress: (done: Int) -> Unit = {},
): List<Run>? {
    val opened = mutableListOf<Segmenter>()
    try {
        for ((_, open) in models) opened += open()
        val inputs = opened.map(::randomInput)
        val outputs = opened.map { outputTensor(it.spec).buffer }
        val times = List(models.size) { Percentiles(repeats) }
        val ratios = List(models.size) { Percentiles(repeats) }
        for (i in 0 until warmup + repeats) {
            var first = 0L
            for ((model, segmenter) in opened.withIndex()) {
                if (stopped()) return null
                val took = timed(segmenter, inputs[model], outputs[model], clock)
                if (model == 0) first = took
                if (i >= warmup) times[model].add(took)
                if (i >= warmup) ratios[model].add(1_000_000 * first / maxOf(1, took)) // a millionth is "ms" / 1e6
            }
            progress(i + 1)
        }
        return models.indices.map { Run(models[it].first, opened[it].device, repeats, times[it], ratios[it].milliseconds(0.5)) }
    } finally {
        opened.forEach { it.close() }
    }
}

/** [memory]: bytes in use now, of what the model is held in. */
fun coldStart(model: String, open: () -> Segmenter, clock: Clock, memory: () -> Long): ColdStart {
    val before = memory()
    val started = clock.nanoseconds()
    val segmenter = open()
    val load = clock.nanoseconds() - started
    try {
        val first = timed(segmenter, randomInput(segmenter), outputTensor(segmenter.spec).buffer, clock)
        return ColdStart(model, load / 1e6, first / 1e6, (memory() - before) / 1048576.0)
    } finally {
        segmenter.close()
    }
}

private fun timed(segmenter: Segmenter, input: ByteBuffer, output: ByteBuffer, clock: Clock): Long {
    input.rewind()
    val started = clock.nanoseconds()
    segmenter.run(input, output)
    return clock.nanoseconds() - started
}

/** Random pixels, the same every time. */
private fun randomInput(segmenter: Segmenter): ByteBuffer {
    val random = Random(0)
    val input = segmenter.spec.input
    val count = input.size.pixels * input.channels
    val buffer = ByteBuffer.allocateDirect(count * input.dtype.bytes).order(ByteOrder.nativeOrder())
    for (i in 0 until count) if (input.dtype.bytes == 4) buffer.putFloat(random.nextFloat()) else buffer.put(random.nextInt(256).toByte())
    return buffer
}

/** The JSON of `python -m tflite.benchmark --json`; `delegate` and `coverage` are what a phone adds. */
fun benchmarkJson(machine: String, system: String, cores: Int, runs: List<Run>, starts: List<ColdStart>): JSONObject = JSONObject()
    .put("machine", machine)
    .put("system", system)
    .put("cores", cores)
    .put(
        "runs",
        JSONArray(
            runs.map {
                JSONObject().put("model", it.model).put("threads", it.device.threads).put("runs", it.runs)
                    .put("median_ms", it.times.milliseconds(0.5)).put("p90_ms", it.times.milliseconds(0.9))
                    .put("p99_ms", it.times.milliseconds(0.99)).put("min_ms", it.times.milliseconds(0.0))
                    .put("speed", it.speed).put("delegate", it.device.delegate.name.lowercase())
                    .put("coverage", it.device.coverage ?: JSONObject.NULL)
            },
        ),
    )
    .put(
        "cold_start",
        JSONArray(
            starts.map {
                JSONObject().put("model", it.model).put("load_ms", it.loadMs).put("first_ms", it.firstMs).put("memory_mib", it.memoryMib)
            },
        ),
    )
