package pocketseg.demo

import android.app.Activity
import android.os.BatteryManager
import android.os.Build
import android.os.Bundle
import android.os.Debug
import android.view.View
import android.widget.Button
import android.widget.TextView
import org.json.JSONObject
import pocketseg.live.Accuracy
import pocketseg.live.Candidate
import pocketseg.live.Clock
import pocketseg.live.ColdStart
import pocketseg.live.Findings
import pocketseg.live.Progress
import pocketseg.live.Run
import pocketseg.live.benchmarkJson
import pocketseg.live.coldStart
import pocketseg.live.measure
import pocketseg.live.sustain
import pocketseg.model.Agreement
import pocketseg.model.Attempt
import pocketseg.model.Delegate
import pocketseg.model.ModelError
import pocketseg.model.Problem
import pocketseg.model.Trouble
import pocketseg.model.compare
import java.io.File
import java.io.IOException

/** Measures every model with 1, 2 and 4 threads, and on the GPU where that agrees with the CPU; shows and shares the result. */
class BenchmarkActivity : Activity() {
    private var thread: Thread? = null
    private var result = JSONObject()
    @Volatile private var stopped = false
    private val gpu by lazy { Attempt(File(filesDir, "gpu-attempt")) }

    private val text by lazy { findViewById<TextView>(R.id.results) }
    private val progress by lazy { findViewById<TextView>(R.id.progress) }
    private val share by lazy { findViewById<Button>(R.id.share) }
    private val buttons by lazy { mapOf(R.id.run to R.string.bench_quick, R.id.sustain to R.string.bench_sustained) }

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        setContentView(R.layout.benchmark)
        drawBehindBars(findViewById(R.id.root))
        findViewById<TextView>(R.id.help).text = getString(R.string.bench_help, REPEATS, WARMUP)
        text.text = saved?.getString(TEXT)
        saved?.getString(RESULT)?.let { result = JSONObject(it) }
        share.isEnabled = result.length() > 0
        for (id in buttons.keys) findViewById<View>(id).setOnClickListener { if (thread == null) start(id) else stopped = true }
        share.setOnClickListener {
            try {
                val file = SharedFiles.file(this, "benchmark.json").apply { writeText(result.toString(1)) }
                startActivity(SharedFiles.share(this, file, getString(R.string.bench_share)))
            } catch (error: IOException) {
                progress.text = words(Trouble(Problem.SAVE_FAILED, error))
            }
        }
    }

    override fun onDestroy() {
        stopped = true // ends after the run in work; a benchmark in the background would measure the background
        super.onDestroy()
    }

    override fun onStop() {
        if (!isChangingConfigurations) stopped = true
        super.onStop()
    }

    override fun onSaveInstanceState(out: Bundle) {
        super.onSaveInstanceState(out)
        out.putString(TEXT, text.text.toString())
        if (result.length() > 0) out.putString(RESULT, result.toString())
    }

    private fun start(id: Int) {
        stopped = false
        text.text = ""
        share.isEnabled = false
        window.decorView.keepScreenOn = true // a dark screen would end it
        for (button in buttons.keys) findViewById<Button>(button).setText(R.string.bench_stop)
        thread = Thread({
            val found = if (id == R.id.run) measureAll() else sustainOne()
            runOnUiThread { finished(found) }
        }, "benchmark").apply { start() }
    }

    private fun finished(found: Findings?) {
        thread = null
        window.decorView.keepScreenOn = false
        for ((button, word) in buttons) findViewById<Button>(button).setText(word)
        progress.text = if (stopped) getString(R.string.bench_stopped) else ""
        val cores = Runtime.getRuntime().availableProcessors()
        val phone = "${Build.MANUFACTURER} ${Build.MODEL}, Android ${Build.VERSION.RELEASE}"
        result = if (found == null) JSONObject() else benchmarkJson(Build.SUPPORTED_ABIS.first(), phone, cores, found)
        share.isEnabled = found != null
    }

    private val failures = mutableListOf<Pair<String, String>>()

    private inner class Told(private val line: (Int) -> String) : Progress {
        override val stopped get() = this@BenchmarkActivity.stopped

        override fun done(runs: Int) {
            if (runs % 10 == 0) runOnUiThread { progress.text = line(runs) }
        }

        override fun failed(model: String, reason: String) {
            failures += model to reason
            add("$model: $reason")
        }
    }

    private fun usable(): List<ModelFile> {
        failures.clear()
        return ModelStore(this).list().filter { it.problem == null }.also { if (it.isEmpty()) add(getString(R.string.bench_none)) }
    }

    /** Null when it was stopped, or there is nothing to measure. */
    private fun measureAll(): Findings? {
        val files = usable().ifEmpty { return null }
        val starts = mutableListOf<Pair<ModelFile, ColdStart>>()
        val quiet = Told { "" }
        for (file in files) { // what cannot even start here is told once and left out
            if (stopped) return null
            try {
                val bytes = file.buffer() // reading and hashing are none of the interpreter's time
                val candidate = Candidate("${file.name}.tflite") { openModel(file.spec!!, bytes, Delegate.CPU, 1) }
                starts += file to coldStart(candidate, Clock.SYSTEM, Debug::getNativeHeapAllocatedSize)
            } catch (error: ModelError) {
                quiet.failed("${file.name}.tflite", error.message!!)
            } catch (error: RuntimeException) {
                quiet.failed("${file.name}.tflite", "$error")
            }
        }
        val runs = mutableListOf<Run>()
        val cores = Runtime.getRuntime().availableProcessors()
        for (threads in listOf(1, 2, 4).filter { it <= cores }) {
            runs += measured(starts.map { candidate(it.first, Delegate.CPU, threads) }, Delegate.CPU, threads) ?: return null
        }
        val accuracies = mutableListOf<Accuracy>()
        for ((file) in starts) {
            if (stopped) return null
            accuracy(file, Delegate.CPU, quiet)?.let { accuracies += it }
        }
        val agreements = mutableMapOf<String, Agreement>()
        val trusted = starts.map { it.first }.filter { file ->
            if (stopped) return null
            val found = agree(file, quiet) ?: return@filter false
            agreements["${file.name}.tflite"] = found
            add(getString(R.string.bench_agreement, file.name, "$found"))
            if (found.trusted) gpu.make(file.name) { accuracy(file, Delegate.GPU, quiet) }?.let { accuracies += it }
            found.trusted
        }
        if (trusted.isNotEmpty()) {
            val onGpu = { measured(trusted.map { candidate(it, Delegate.GPU, 1) }, Delegate.GPU, 1) }
            runs += gpu.make(trusted.joinToString { it.name }, onGpu) ?: return null
        }
        return Findings(runs, starts.map { it.second }, agreements, accuracies, failures = failures.toList())
    }

    /** Against the project's Python, on the photo of the assets; null where there is nothing to compare with. */
    private fun accuracy(file: ModelFile, delegate: Delegate, told: Progress): Accuracy? {
        val reference = ModelStore(this).reference(file) ?: return null
        try {
            val segmenter = open(file, delegate, 1)
            try {
                val found = Accuracy("${file.name}.tflite", delegate, reference.compare(segmenter) ?: return null)
                add(getString(R.string.bench_accuracy, file.name, delegate.name, "${found.agreement}"))
                return found
            } finally {
                segmenter.close()
            }
        } catch (error: ModelError) {
            told.failed("${file.name}.tflite", error.message!!)
        } catch (error: RuntimeException) {
            told.failed("${file.name}.tflite", "$error")
        }
        return null
    }

    /** Null when the GPU cannot run it, which is told. */
    private fun agree(file: ModelFile, told: Progress): Agreement? =
        try {
            gpu.make(file.name) {
                val cpu = open(file, Delegate.CPU, 1)
                try {
                    val other = open(file, Delegate.GPU, 1)
                    try {
                        compare(cpu, other)
                    } finally {
                        other.close()
                    }
                } finally {
                    cpu.close()
                }
            }
        } catch (error: ModelError) {
            told.failed("${file.name}.tflite", error.message!!)
            null
        } catch (error: RuntimeException) {
            told.failed("${file.name}.tflite", "$error")
            null
        }

    private fun measured(candidates: List<Candidate>, delegate: Delegate, threads: Int): List<Run>? {
        val told = Told { getString(R.string.bench_running, words(delegate), threads, it, WARMUP + REPEATS) }
        val runs = measure(candidates, WARMUP, REPEATS, told)
        for (run in runs.orEmpty()) {
            add(getString(R.string.bench_row, run.model, delegate.name, threads, run.times.milliseconds(0.5), run.times.milliseconds(0.9)))
        }
        return runs
    }

    /** The model that is shown, or the first. */
    private fun sustainOne(): Findings? {
        val files = usable()
        val file = files.find { it.name == intent.getStringExtra(MODEL) } ?: files.firstOrNull() ?: return null
        val candidate = candidate(file, Delegate.CPU, minOf(2, Runtime.getRuntime().availableProcessors()))
        val stretches = sustain(candidate, SUSTAINED_SECONDS, STRETCH_SECONDS, Told { "" }, { thermalStatus(this) }, ::battery) {
            add(getString(R.string.bench_stretch, it.seconds, it.times.milliseconds(0.5), it.thermal ?: "-", it.batteryPercent?.let { p -> "$p %" } ?: "-"))
        }
        return Findings(sustained = mapOf(candidate.name to stretches), failures = failures.toList()).takeIf { stretches.isNotEmpty() }
    }

    private fun battery(): Int? =
        getSystemService(BatteryManager::class.java).getIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY).takeIf { it in 0..100 }

    private fun candidate(file: ModelFile, delegate: Delegate, threads: Int) = Candidate("${file.name}.tflite") { open(file, delegate, threads) }

    private fun open(file: ModelFile, delegate: Delegate, threads: Int) = openModel(file.spec!!, file.buffer(), delegate, threads)

    private fun add(line: String) = runOnUiThread { text.append("$line\n") }

    companion object {
        /** The extra that names the model of the sustained run. */
        const val MODEL = "model"
        private const val WARMUP = 10
        private const val REPEATS = 100
        private const val SUSTAINED_SECONDS = 300
        private const val STRETCH_SECONDS = 10
        private const val TEXT = "text"
        private const val RESULT = "result"
    }
}
