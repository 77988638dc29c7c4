package pocketseg.demo

import android.Manifest
import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.content.pm.PackageManager
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.provider.Settings
import android.view.View
import android.widget.CheckBox
import android.widget.SeekBar
import pocketseg.live.Background
import pocketseg.live.Choice
import pocketseg.live.Effect
import pocketseg.live.Engine
import pocketseg.live.FrameSource
import pocketseg.live.Look
import pocketseg.live.Report
import pocketseg.live.Screen
import pocketseg.live.delegateChoices
import pocketseg.live.modelChoices
import pocketseg.live.threadChoices
import pocketseg.model.openTrusted
import pocketseg.pixels.Size
import java.io.IOException

/** The live picture and its controls. The engine and the source live from onStart to onStop. */
class MainActivity : Activity(), Screen {
    private lateinit var store: ModelStore
    private var state = UiState()
    private var engine: Engine? = null
    private var source: FrameSource? = null
    private var background: Background? = null
    private var backgroundUri: Uri? = null
    private var aspect = 1.0

    private val picture by lazy { findViewById<PictureView>(R.id.picture) }
    private val screen by lazy { MainScreen(this) }

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        store = ModelStore(this)
        setContentView(R.layout.main)
        padForSystemBars(findViewById(R.id.root))
        state = UiState.fromJson(getPreferences(MODE_PRIVATE).getString(STATE, "{}")!!)
        saved?.getString(PHOTO)?.let { state = state.copy(source = Source.Photo(Uri.parse(it))) }
        saved?.getString(VIDEO)?.let { state = state.copy(source = Source.Video(Uri.parse(it))) }
        saved?.getString(BACKGROUND)?.let { useBackground(Uri.parse(it)) }
        state = state.withModels(store.list())
        connect()
        if (!cameraAllowed() && state.source is Source.Camera && saved == null) askForCamera()
    }

    override fun onStart() {
        super.onStart()
        val engine = Engine(this)
        this.engine = engine
        engine.start()
        engine.fit(aspect)
        engine.show(background)
        engine.show(state.look)
        openModels()
        openSource()
    }

    override fun onStop() {
        source?.stop()
        source = null
        engine?.close()
        engine = null
        getPreferences(MODE_PRIVATE).edit().putString(STATE, state.toJson()).apply()
        super.onStop()
    }

    override fun onSaveInstanceState(out: Bundle) {
        super.onSaveInstanceState(out)
        (state.source as? Source.Photo)?.let { out.putString(PHOTO, it.uri.toString()) }
        (state.source as? Source.Video)?.let { out.putString(VIDEO, it.uri.toString()) }
        backgroundUri?.let { out.putString(BACKGROUND, it.toString()) }
    }

    // What changes, and what follows from it.

    private fun update(change: UiState.() -> UiState) {
        val before = state
        state = before.change()
        if (state.message == before.message && (state.look != before.look || state.source != before.source)) {
            state = state.copy(message = null) // it was about what is no more
        }
        if (state.look != before.look) engine?.show(state.look)
        if (state.chosen != before.chosen || state.delegate != before.delegate || state.threads != before.threads) openModels()
        if (state.source != before.source || (state.cameraAllowed && !before.cameraAllowed)) openSource()
        screen.render(state)
    }

    private fun openModels() {
        val (files, delegate, threads) = Triple(state.chosen.mapNotNull { name -> state.models.find { it.name == name } }, state.delegate, state.threads)
        state = state.copy(message = if (files.isEmpty()) getString(R.string.no_models) else null)
        engine?.use { photo, size ->
            val opened = files.map { file ->
                val bytes = file.buffer()
                openTrusted(delegate, { openModel(file.spec!!, bytes, it, threads) }, photo, size, ::failed)
            }
            runOnUiThread { update { copy(devices = opened.map { it.device }) } }
            opened
        }
    }

    private fun openSource() {
        val engine = engine ?: return
        source?.stop()
        source = null
        state = state.copy(cameraAllowed = cameraAllowed())
        source = when (val wanted = state.source) {
            is Source.Camera -> if (state.cameraAllowed) CameraSource(applicationContext, wanted.front) { displayDegrees(this) } else null
            is Source.Photo -> PhotoSource(applicationContext, wanted.uri)
            is Source.Video -> VideoSource(applicationContext, wanted.uri)
        }
        source?.start(engine.frames, ::failed)
        screen.render(state)
    }

    private fun UiState.withModels(models: List<ModelFile>): UiState {
        val usable = models.filter { it.problem == null }.map { it.name }
        return copy(models = models, chosen = chosen.filter { it in usable }.ifEmpty { usable.take(1) })
    }

    // From the inference thread.

    override fun show(pixels: IntArray, size: Size) = picture.show(pixels, size)

    override fun report(report: Report) = runOnUiThread { update { copy(report = report, thermal = thermalStatus(this@MainActivity)) } }

    override fun failed(message: String) = runOnUiThread { update { copy(message = message) } }

    // From the person.

    private fun connect() {
        picture.sizeChanged = {
            aspect = it
            engine?.fit(it)
        }
        onClick(R.id.effect) { pickEffect() }
        onClick(R.id.model) {
            pick(R.string.model_title, modelChoices(state.models.map { it.name to it.problem }, null), state.chosen.firstOrNull()) {
                update { copy(chosen = (listOf(it) + chosen.drop(1)).distinct()) }
            }
        }
        onClick(R.id.compare) {
            val none = Choice("", getString(R.string.compare_off))
            val choices = listOf(none) + modelChoices(state.models.map { it.name to it.problem }, state.chosen.firstOrNull())
            pick(R.string.compare_title, choices, state.chosen.getOrElse(1) { "" }) {
                update { copy(chosen = if (it == "") chosen.take(1) else chosen.take(1) + it) }
            }
        }
        onClick(R.id.camera) {
            val now = state.source
            update { copy(source = Source.Camera(if (now is Source.Camera) !now.front else true)) }
            if (!cameraAllowed()) askForCamera()
        }
        onClick(R.id.photo) { choose(Request.PHOTO, "image/*") }
        onClick(R.id.video) { choose(Request.VIDEO, "video/*") }
        onClick(R.id.save) { save() }
        onClick(R.id.share) { share() }
        onClick(R.id.expert) { pickExpert() }
        onClick(R.id.allow) { askForCamera() }
        onSlide(R.id.blur, state.look.blur / MAX_BLUR) { copy(blur = it * MAX_BLUR) }
        onSlide(R.id.refinement, state.look.refinement / MAX_REFINEMENT) { copy(refinement = it * MAX_REFINEMENT) }
        onSlide(R.id.smoothing, state.look.smoothing / MAX_SMOOTHING) { copy(smoothing = it * MAX_SMOOTHING) }
        onCheck(R.id.fill_contours, state.look.fillContours) { copy(fillContours = it) }
        onCheck(R.id.fill_view, state.look.fillView) { copy(fillView = it) }
    }

    private fun onClick(id: Int, action: () -> Unit) = findViewById<View>(id).setOnClickListener { action() }

    private fun onCheck(id: Int, value: Boolean, change: Look.(Boolean) -> Look) {
        val box = findViewById<CheckBox>(id)
        box.isChecked = value
        box.setOnCheckedChangeListener { _, checked -> update { copy(look = look.change(checked)) } }
    }

    private fun onSlide(id: Int, value: Float, change: Look.(Float) -> Look) {
        val bar = findViewById<SeekBar>(id)
        bar.progress = Math.round(value * bar.max)
        bar.setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar, progress: Int, byPerson: Boolean) {
                if (byPerson) update { copy(look = look.change(progress / bar.max.toFloat())) }
            }

            override fun onStartTrackingTouch(bar: SeekBar) = Unit

            override fun onStopTrackingTouch(bar: SeekBar) = Unit
        })
    }

    private fun pickEffect() {
        val names = resources.getStringArray(R.array.effects)
        pick(R.string.effect_title, Effect.entries.map { Choice(it, names[it.ordinal]) }, state.look.effect) { effect ->
            update { copy(look = look.copy(effect = effect)) }
            if (effect == Effect.COLOUR) pickColour()
            if (effect == Effect.PICTURE) choose(Request.BACKGROUND, "image/*")
        }
    }

    private fun pickColour() {
        val names = resources.getStringArray(R.array.colours)
        val values = resources.getIntArray(R.array.colour_values)
        pick(R.string.colour_title, names.indices.map { Choice(values[it], names[it]) }, state.look.colour) {
            update { copy(look = look.copy(colour = it)) }
        }
    }

    private fun pickExpert() {
        val actions = listOf<Pair<String, () -> Unit>>(
            getString(if (state.numbers) R.string.hide_numbers else R.string.show_numbers) to { update { copy(numbers = !numbers) } },
            getString(R.string.delegate, state.delegate) to {
                pick(R.string.delegate_title, delegateChoices(LiteRtSegmenter.gpuSupport), state.delegate) { update { copy(delegate = it) } }
            },
            getString(R.string.threads, state.threads) to {
                val choices = threadChoices(Runtime.getRuntime().availableProcessors(), state.delegate)
                pick(R.string.threads_title, choices, state.threads) { update { copy(threads = it) } }
            },
            getString(R.string.add_models) to { choose(Request.MODELS, "*/*") },
            getString(R.string.benchmark) to { startActivity(Intent(this, BenchmarkActivity::class.java)) },
        )
        pick(R.string.expert_title, actions.map { Choice(it.second, it.first) }, null) { it() }
    }

    private enum class Request { PHOTO, VIDEO, BACKGROUND, MODELS, SAVE, CAMERA }

    private fun choose(request: Request, type: String) {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).setType(type).addCategory(Intent.CATEGORY_OPENABLE)
            .putExtra(Intent.EXTRA_ALLOW_MULTIPLE, request == Request.MODELS)
        launch(intent, request)
    }

    private fun launch(intent: Intent, request: Request) =
        try {
            @Suppress("DEPRECATION") // its successor is in androidx
            startActivityForResult(intent, request.ordinal)
        } catch (_: ActivityNotFoundException) {
            failed(getString(R.string.no_picker))
        }

    @Deprecated("its successor is in androidx")
    override fun onActivityResult(code: Int, result: Int, data: Intent?) {
        val uri = data?.data
        val clip = data?.clipData
        val uris = if (clip != null) List(clip.itemCount) { clip.getItemAt(it).uri } else listOfNotNull(uri)
        if (result != RESULT_OK || uris.isEmpty()) return
        when (Request.entries[code]) {
            Request.PHOTO -> update { copy(source = Source.Photo(uris[0]), message = null) }
            Request.VIDEO -> update { copy(source = Source.Video(uris[0]), message = null) }
            Request.BACKGROUND -> useBackground(uris[0])
            Request.MODELS -> {
                val problem = store.add(uris)
                update { withModels(store.list()).copy(message = problem) }
            }
            Request.SAVE -> engine?.save { pixels, size -> saved { writePicture(this, uris[0], pixels, size) } }
            Request.CAMERA -> Unit
        }
    }

    private fun useBackground(uri: Uri) {
        Thread({
            try {
                val read = readBackground(applicationContext, uri)
                runOnUiThread {
                    background = read
                    backgroundUri = uri
                    engine?.show(read)
                }
            } catch (error: IOException) {
                failed(getString(R.string.background_failed, error.message))
            } catch (error: SecurityException) {
                failed(getString(R.string.background_failed, error.message))
            }
        }, "background").start()
    }

    private fun save() {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) {
            val intent = Intent(Intent.ACTION_CREATE_DOCUMENT).setType("image/png").addCategory(Intent.CATEGORY_OPENABLE)
            return launch(intent.putExtra(Intent.EXTRA_TITLE, "pocketseg.png"), Request.SAVE)
        }
        engine?.save { pixels, size -> saved { addToGallery(this, pixels, size) } }
    }

    private fun saved(write: () -> Unit) =
        failed(
            try {
                write()
                getString(if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) R.string.saved_file else R.string.saved)
            } catch (error: IOException) {
                getString(R.string.save_failed, error.message)
            },
        )

    private fun share() {
        engine?.save { pixels, size ->
            try {
                val intent = SharedFiles.share(this, "pocketseg.png", getString(R.string.share_title)) { file ->
                    file.outputStream().use { compress(pixels, size, it) }
                }
                runOnUiThread { startActivity(intent) }
            } catch (error: IOException) {
                failed(getString(R.string.save_failed, error.message))
            }
        }
    }

    // The camera's permission.

    private fun cameraAllowed() = checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED

    private fun askForCamera() {
        val asked = getPreferences(MODE_PRIVATE).getBoolean(ASKED, false)
        getPreferences(MODE_PRIVATE).edit().putBoolean(ASKED, true).apply()
        if (asked && !shouldShowRequestPermissionRationale(Manifest.permission.CAMERA) && !cameraAllowed()) {
            // Refused for good: the system would not show its question any more.
            startActivity(Intent(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, Uri.fromParts("package", packageName, null)))
        } else {
            requestPermissions(arrayOf(Manifest.permission.CAMERA), Request.CAMERA.ordinal)
        }
    }

    override fun onRequestPermissionsResult(code: Int, permissions: Array<String>, results: IntArray) =
        update { copy(cameraAllowed = cameraAllowed(), message = null) }

    private companion object {
        const val STATE = "state"
        const val ASKED = "asked"
        const val PHOTO = "photo"
        const val VIDEO = "video"
        const val BACKGROUND = "background"
        const val MAX_BLUR = 0.08f
        const val MAX_REFINEMENT = 0.05f
        const val MAX_SMOOTHING = 0.95f
    }
}
