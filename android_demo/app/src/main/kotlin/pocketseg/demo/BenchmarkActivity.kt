package pocketseg.demo

import android.app.Activity
import android.os.Build
import android.os.Bundle
import android.os.Debug
import android.widget.Button
import android.widget.TextView
import org.json.JSONObject
import pocketseg.live.Clock
import pocketseg.live.GpuSupport
import pocketseg.live.Run
import pocketseg.live.benchmarkJson
import pocketseg.live.coldStart
import pocketseg.live.measure
import pocketseg.model.Delegate
import pocketseg.model.ModelError

/** Measures every model with 1, 2 and 4 threads, and on the GPU; shows and shares the result. */
class BenchmarkActivity : Activity() {
    private var thread: Thread? = null
    private var result = JSONObject()

    private val text by lazy { findViewById<TextView>(R.id.results) }
    private val progress by lazy { findViewById<TextView>(R.id.progress) }
    private val button by lazy { findViewById<Button>(R.id.run) }
    private val share by lazy { findViewById<Button>(R.id.share) }

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        setContentView(R.layout.benchmark)
        padForSystemBars(findViewById(R.id.root))
        findViewById<TextView>(R.id.help).text = getString(R.string.benchmark_help, REPEATS, WARMUP)
        text.text = saved?.getString(TEXT)
        button.setOnClickListener { if (thread == null) start() else stop() }
        share.setOnClickListener {
            startActivity(SharedFiles.share(this, "benchmark.json", getString(R.string.share_json)) { it.writeText(result.toString(1)) })
        }
    }

    override fun onStop() {
        stop()
        super.onStop()
    }

    override fun onSaveInstanceState(out: Bundle) {
        super.onSaveInstanceState(out)
        out.putString(TEXT, text.text.toString())
    }

    private fun start() {
        val models = ModelStore(this).list().filter { it.problem == null }
        text.text = if (models.isEmpty()) getString(R.string.benchmark_none) else ""
        button.setText(R.string.cancel)
        share.isEnabled = false
        thread = Thread({
            val measured = if (models.isEmpty()) null else measureAll(models)
            runOnUiThread { finished(measured) }
        }, "benchmark").apply { start() }
    }

    private fun stop() {
        thread?.interrupt()
        thread?.join(2000)
    }

    /** Null when it was stopped. */
    private fun finished(measured: JSONObject?) {
        thread = null
        result = measured ?: JSONObject()
        button.setText(R.string.run)
        progress.text = if (measured == null) getString(R.string.stopped) else ""
        share.isEnabled = measured != null
    }

    private fun measureAll(files: List<ModelFile>): JSONObject? {
        val cores = Runtime.getRuntime().availableProcessors()
        val gpu = if (LiteRtSegmenter.gpuSupport == GpuSupport.AVAILABLE) listOf(Delegate.GPU to 1) else emptyList()
        val starts = files.mapNotNull { file -> // what cannot even start here is told once and left out
            try {
                file to coldStart("${file.name}.tflite", { open(file, Delegate.CPU, 1) }, Clock.SYSTEM, Debug::getNativeHeapAllocatedSize)
            } catch (error: ModelError) {
                add(error.message!!)
                null
            }
        }
        val runs = mutableListOf<Run>()
        for ((delegate, threads) in listOf(1, 2, 4).filter { it <= cores }.map { Delegate.CPU to it } + gpu) {
            try {
                val models = starts.map { (file, start) -> start.model to { open(file, delegate, threads) } }
                val measured = measure(models, WARMUP, REPEATS, stopped = { Thread.currentThread().isInterrupted }) { done ->
                    if (done % 10 == 0) runOnUiThread { progress.text = getString(R.string.running, delegate, threads, done, WARMUP + REPEATS) }
                } ?: return null
                for (run in measured) {
                    val median = run.times.milliseconds(0.5)
                    add(getString(R.string.benchmark_row, run.model, delegate, threads, median, run.times.milliseconds(0.9)))
                }
                runs += measured
            } catch (error: ModelError) {
                add(error.message!!)
            }
        }
        val phone = "${Build.MANUFACTURER} ${Build.MODEL}, Android ${Build.VERSION.RELEASE}"
        return benchmarkJson(Build.SUPPORTED_ABIS.first(), phone, cores, runs, starts.map { it.second })
    }

    private fun open(file: ModelFile, delegate: Delegate, threads: Int) = openModel(file.spec!!, file.buffer(), delegate, threads)

    private fun add(line: String) = runOnUiThread { text.append("$line\n") }

    private companion object {
        const val WARMUP = 10
        const val REPEATS = 100
        const val TEXT = "text"
    }
}
