package pocketseg.live

import org.json.JSONArray
import org.json.JSONObject
import pocketseg.model.Agreement
import pocketseg.model.Delegate
import pocketseg.model.Device
import pocketseg.model.ModelError
import pocketseg.model.Segmenter
import pocketseg.model.outputTensor
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Random

/** A model to measure; [open] throws [ModelError] for one that cannot run. */
class Candidate(val name: String, val open: () -> Segmenter)

/** One model's times of inference alone. [speed] is a multiple of the first model's; null when that one failed. */
class Run(val model: String, val device: Device, val runs: Int, val times: Percentiles, val speed: Double?)

/** Of a model that was not in memory yet. */
class ColdStart(val model: String, val loadMs: Double, val firstMs: Double, val memoryMib: Double)

/** Ten seconds or so of a model that runs without a pause. [thermal] and [batteryPercent] as the phone tells them. */
class Stretch(val seconds: Double, val times: Percentiles, val runs: Int, val thermal: String?, val batteryPercent: Int?)

/** What a run is told about while it goes. */
interface Progress {
    val stopped: Boolean

    fun done(runs: Int) = Unit

    /** A model that failed; the others go on. */
    fun failed(model: String, reason: String)
}

private class Measured(val candidate: Candidate, val segmenter: Segmenter, repeats: Int) {
    val input = randomInput(segmenter)
    val output = outputTensor(segmenter.spec).buffer
    val device = segmenter.device // asked for while the log still has it
    val times = Percentiles(repeats)
    val ratios = Percentiles(repeats)
    var alive = true
}

/**
 * Times models in turn, run by run, so that a change of the phone's speed meets them all alike: `tflite.benchmark`'s
 * protocol. Null when it was stopped. A model that does not open or throws is told and left out; all are closed here.
 */
fun measure(candidates: List<Candidate>, warmup: Int, repeats: Int, progress: Progress, clock: Clock = Clock.SYSTEM): List<Run>? {
    val opened = mutableListOf<Measured>()
    try {
        for (candidate in candidates) {
            if (progress.stopped) return null
            try {
                opened += Measured(candidate, candidate.open(), repeats)
            } catch (error: ModelError) {
                progress.failed(candidate.name, error.message!!)
            } catch (error: RuntimeException) {
                progress.failed(candidate.name, "$error")
            }
        }
        for (i in 0 until warmup + repeats) {
            var first = 0L
            for ((index, model) in opened.withIndex()) {
                if (progress.stopped) return null
                if (!model.alive) continue
                try {
                    val took = timed(model.segmenter, model.input, model.output, clock)
                    if (index == 0) first = took
                    if (i >= warmup) model.times.add(took)
                    if (i >= warmup) model.ratios.add(1_000_000 * first / maxOf(1, took)) // a millionth is "ms" / 1e6
                } catch (error: RuntimeException) {
                    model.alive = false
                    progress.failed(model.candidate.name, "$error")
                }
            }
            progress.done(i + 1)
        }
        val base = opened.firstOrNull()?.alive == true
        return opened.filter { it.alive }.map {
            Run(it.candidate.name, it.device, repeats, it.times, if (base) it.ratios.milliseconds(0.5) else null)
        }
    } finally {
        opened.forEach { it.segmenter.close() }
    }
}

/**
 * One model without a pause for [seconds], in stretches of [stretchSeconds]: what is left of the speed when the phone is
 * warm. Ends early, with what there is, when it is stopped or the model throws. The model is opened and closed here.
 */
fun sustain(
    candidate: Candidate, seconds: Int, stretchSeconds: Int, progress: Progress, thermal: () -> String?, battery: () -> Int?,
    clock: Clock = Clock.SYSTEM, each: (Stretch) -> Unit = {},
): List<Stretch> {
    val stretches = mutableListOf<Stretch>()
    var segmenter: Segmenter? = null
    try {
        segmenter = candidate.open()
        val input = randomInput(segmenter)
        val output = outputTensor(segmenter.spec).buffer
        val started = clock.nanoseconds()
        while (!progress.stopped && stretches.size * stretchSeconds < seconds) {
            val times = Percentiles(STRETCH_RUNS)
            var runs = 0
            val end = started + (stretches.size + 1) * stretchSeconds * 1_000_000_000L
            do {
                times.add(timed(segmenter, input, output, clock))
                runs++
            } while (!progress.stopped && clock.nanoseconds() < end)
            stretches += Stretch((clock.nanoseconds() - started) / 1e9, times, runs, thermal(), battery()).also(each)
            progress.done(stretches.size)
        }
    } catch (error: ModelError) {
        progress.failed(candidate.name, error.message!!)
    } catch (error: RuntimeException) {
        progress.failed(candidate.name, "$error")
    } finally {
        segmenter?.close()
    }
    return stretches
}

private const val STRETCH_RUNS = 1000

/**
 * [memory]: bytes in use now, of what the model is held in. All that [Candidate.open] does is timed: it should have the
 * file's bytes already. Throws [ModelError], as that does.
 */
fun coldStart(candidate: Candidate, clock: Clock, memory: () -> Long): ColdStart {
    val before = memory()
    val started = clock.nanoseconds()
    val segmenter = candidate.open()
    val load = clock.nanoseconds() - started
    try {
        val first = timed(segmenter, randomInput(segmenter), outputTensor(segmenter.spec).buffer, clock)
        return ColdStart(candidate.name, load / 1e6, first / 1e6, (memory() - before) / 1048576.0)
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

/** A model's foreground on this phone against that of the project's Python, on one photo. */
class Accuracy(val model: String, val delegate: Delegate, val agreement: Agreement)

/** All that one benchmark found. [agreements]: of models on the GPU with the same on the CPU. */
class Findings(
    val runs: List<Run> = emptyList(), val starts: List<ColdStart> = emptyList(), val agreements: Map<String, Agreement> = emptyMap(),
    val accuracies: List<Accuracy> = emptyList(), val sustained: Map<String, List<Stretch>> = emptyMap(),
    val failures: List<Pair<String, String>> = emptyList(),
)

/** The JSON of `python -m tflite.benchmark --json`, and what only a phone tells: `delegate`, `coverage` and the last four lists. */
fun benchmarkJson(machine: String, system: String, cores: Int, found: Findings): JSONObject = JSONObject()
    .put("machine", machine)
    .put("system", system)
    .put("cores", cores)
    .put(
        "runs",
        array(found.runs) {
            JSONObject().put("model", it.model).put("threads", it.device.threads).put("runs", it.runs).putTimes(it.times)
                .put("speed", it.speed ?: JSONObject.NULL).put("delegate", it.device.delegate.name.lowercase())
                .put("coverage", it.device.coverage ?: JSONObject.NULL)
        },
    )
    .put(
        "cold_start",
        array(found.starts) {
            JSONObject().put("model", it.model).put("load_ms", it.loadMs).put("first_ms", it.firstMs).put("memory_mib", it.memoryMib)
        },
    )
    .put(
        "gpu_agreement",
        array(found.agreements.toList()) { (model, agreement) ->
            JSONObject().put("model", model).putAgreement(agreement)
        },
    )
    .put(
        "accuracy",
        array(found.accuracies) {
            JSONObject().put("model", it.model).put("delegate", it.delegate.name.lowercase()).putAgreement(it.agreement)
        },
    )
    .put(
        "sustained",
        array(found.sustained.toList()) { (model, stretches) ->
            JSONObject().put("model", model).put(
                "stretches",
                array(stretches) {
                    JSONObject().put("seconds", it.seconds).put("runs", it.runs).putTimes(it.times)
                        .put("thermal", it.thermal ?: JSONObject.NULL).put("battery_percent", it.batteryPercent ?: JSONObject.NULL)
                },
            )
        },
    )
    .put("failures", array(found.failures) { (model, reason) -> JSONObject().put("model", model).put("reason", reason) })

private fun <T> array(values: List<T>, json: (T) -> JSONObject) = JSONArray(values.map(json))

private fun JSONObject.putTimes(times: Percentiles) = put("median_ms", times.milliseconds(0.5)).put("p90_ms", times.milliseconds(0.9))
    .put("p99_ms", times.milliseconds(0.99)).put("min_ms", times.milliseconds(0.0))

private fun JSONObject.putAgreement(agreement: Agreement) = put("mean_difference", agreement.meanDifference)
    .put("other_side", agreement.otherSide).put("trusted", agreement.trusted)
